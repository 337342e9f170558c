"""Units of any experiment measured again: equal arrays pass, changed ones are detected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from finst.cli.options import Verify
from finst.cli.verification import agreement, remeasure
from finst.cli.verification.remeasure import UnitVerification, differences_of, recorded_device
from finst.cli.verification.verify import verify
from finst.errors import FinstError
from finst.experiments.representations.accuracy import Accuracy
from finst.runs.archive import pack, unpack
from finst.runs.manifest import Manifest
from finst.vlm.spec import ModelSpec
from tests.runs.old_runs import unpacked

ALIKE = ("rsa-stages", "key-swap", "frame-patch")
"""Runs of an older finst that are measured again whole: activations, keys and outputs of heads."""


def measured_again(folder: Path, **how: Any) -> UnitVerification:
    result = verify(Verify("planted", run=folder, **how))
    assert isinstance(result, UnitVerification)
    return result


def with_manifest(folder: Path, **changes: Any) -> Path:
    file = folder / "manifest.json"
    data = json.loads(file.read_text())
    for name, value in changes.items():
        part, _, field = name.partition("__")
        (data[part] if field else data)[field or part] = value
    file.write_text(json.dumps(data))
    return folder


def tampered(folder: Path, tamper: Callable[[xr.Dataset], xr.Dataset]) -> Path:
    for file in (folder / "units").iterdir():
        file.write_bytes(pack(tamper(unpack(file))))
    return folder


@pytest.fixture
def accuracy(tmp_path: Path) -> Path:
    return unpacked("accuracy", tmp_path)


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(*_: object, **__: object) -> None:
        pytest.fail("weights were loaded")

    monkeypatch.setattr(remeasure, "open_vlm", loads)


@pytest.mark.parametrize("name", ALIKE)
def test_a_run_of_an_older_finst_is_reproduced(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked("cma", tmp_path)
    monkeypatch.chdir(tmp_path)  # the runs of interventions name their run of causal mediation as "cma"
    result = measured_again(unpacked(name, tmp_path), units=9)
    assert result.outcome == "reproduced", result.text
    manifest = Manifest.read(tmp_path / name / "manifest.json")
    assert result.units == tuple(range(manifest.units))
    assert (result.experiment, result.dtype, result.device, result.measured_on) == (name, "float32", "cpu", "cpu")
    assert result.arrays > 0
    assert result.text.splitlines()[-1].startswith("reproduced: ")


def test_units_are_drawn_by_the_seed(accuracy: Path) -> None:
    drawn = {seed: measured_again(accuracy, seed=seed).units for seed in range(6)}
    assert measured_again(accuracy, seed=3).units == drawn[3]
    assert set(drawn.values()) == {(0,), (1,)}


def test_changed_texts_and_integers_are_detected(accuracy: Path) -> None:
    def tamper(unit: xr.Dataset) -> xr.Dataset:
        name = next(str(name) for name, values in unit.data_vars.items() if values.dtype.kind in "bi")
        changed = unit[name].copy()
        changed[{dim: 0 for dim in changed.dims}] = ~changed[{dim: 0 for dim in changed.dims}]
        return unit.assign({name: changed})

    result = measured_again(tampered(accuracy, tamper))
    assert result.outcome == "not reproduced"
    (difference,) = result.differences
    assert (difference.entries, difference.largest, difference.within) == (1, None, False)
    assert result.text.splitlines()[-1].startswith("not reproduced: ")
    assert difference.array in result.text.splitlines()[-1]


def data(**arrays: Any) -> xr.Dataset:
    return xr.Dataset({name: ("x", np.array(values)) for name, values in arrays.items()})


def outcome(stored: xr.Dataset, measured: xr.Dataset, dtype: str = "float32", device: str = "cpu") -> UnitVerification:
    differences = tuple(differences_of(3, stored, measured, device, "cpu"))
    return UnitVerification("m", "r", "e", dtype, device, "cpu", (3,), len(stored.variables), differences)


@pytest.mark.parametrize(
    ("stored", "measured", "expected"),
    [
        (data(z=[1.0, np.nan]), data(z=[1.0, np.nan]), "reproduced"),
        (data(z=[1.0, 2.0]), data(z=[1.0, 2.0 + 0.9e-4]), "reproduced"),
        (data(z=[1.0, 2.0]), data(z=[1.0, 2.0 + 1.1e-4]), "not reproduced"),
        (data(z=[1.0, 200.0]), data(z=[1.0 + 1e-3, 200.0]), "reproduced"),
        (data(z=[1.0, 200.0]), data(z=[1.0 + 3e-3, 200.0]), "not reproduced"),
        (data(z=[1.0, 2.0]), data(z=[1.0, np.nan]), "not reproduced"),
        (data(z=[1.0, 2.0]), data(z=[1.0, np.inf]), "not reproduced"),
        (data(z=[1, 2]), data(z=[1, 3]), "not reproduced"),
        (data(z=[True]), data(z=[False]), "not reproduced"),
        (data(z=["red", "blue"]), data(z=["red", "green"]), "not reproduced"),
        (data(z=["red"]), data(z=[1.0]), "not reproduced"),
        (data(z=[1.0]), data(z=[1.0, 2.0]), "not reproduced"),
        (data(z=[1.0], y=[1.0]), data(z=[1.0]), "not reproduced"),
        (data(z=[1.0]), data(z=[1.0], y=[1.0]), "not reproduced"),
    ],
)
def test_texts_and_integers_must_be_equal_and_floats_close(
    stored: xr.Dataset, measured: xr.Dataset, expected: str
) -> None:
    assert outcome(stored, measured).outcome == expected


def test_coarse_formats_are_judged_only_where_they_are_equal() -> None:
    stored, close, other = data(z=[1.0], word=["a"]), data(z=[1.0 + 1e-6], word=["a"]), data(z=[1.0], word=["b"])
    assert outcome(stored, stored, "bfloat16").outcome == "reproduced"
    assert outcome(stored, close, "bfloat16").outcome == "not judged"
    assert outcome(stored, other, "bfloat16").outcome == "not judged"
    assert outcome(stored, data(z=[1.0]), "bfloat16").outcome == "not reproduced"


def test_another_kind_of_device_has_a_larger_tolerance() -> None:
    stored, measured = data(z=[1.0]), data(z=[1.0 + 5e-4])
    assert outcome(stored, measured).outcome == "not reproduced"
    elsewhere = outcome(stored, measured, device="cuda:0")
    assert elsewhere.outcome == "reproduced"
    assert elsewhere.differences[0].tolerance == agreement.ACROSS_DEVICES * agreement.TOLERANCE


def test_the_worst_difference_is_first() -> None:
    stored = data(a=[1.0, 2.0], b=[1.0, 2.0], c=[1, 2], d=[1, 2])
    measured = data(a=[1.0, 2.1], b=[1.0, 2.2], c=[1, 3], d=[1, 2])
    differences = sorted(differences_of(0, stored, measured, "cpu", "cpu"), key=remeasure._severity, reverse=True)
    assert [(difference.array, difference.entries) for difference in differences] == [("c", 1), ("b", 1), ("a", 1)]
    assert "0" in differences[0].text


def test_the_device_is_that_of_the_record_where_it_is_available() -> None:
    assert recorded_device(ModelSpec(device="auto"), "cpu") == "cpu"
    assert recorded_device(ModelSpec(device="cpu"), "cpu") == "cpu"
    assert recorded_device(ModelSpec(device="cuda:99"), "cuda:99") == "auto"


def test_an_unfinished_run_is_verified_as_far_as_it_is_measured(accuracy: Path) -> None:
    (accuracy / "units" / "00000.zarr.zip").unlink()
    with pytest.raises(FinstError, match="holds 1 of the 2 units that its manifest counts"):
        measured_again(accuracy)
    result = measured_again(with_manifest(accuracy, status="running", finished=None), units=5)
    assert (result.outcome, result.units) == ("reproduced", (1,))


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spec__trials": "two"}, r"AccuracySpec\.trials: expected int"),
        ({"spec__trials": 0}, "trials is 0: expected at least"),
        ({"spec__objects": [2]}, "holds a run of 2 units and this finst plans 1"),
        ({"model__revision": "abc"}, "planted has no revision .abc."),
    ],
)
def test_what_cannot_be_verified_is_refused_before_weights_load(
    accuracy: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(FinstError, match=message):
        measured_again(with_manifest(accuracy, **changes))


def test_other_weights_are_refused(accuracy: Path) -> None:
    with pytest.raises(FinstError, match="holds a run of other weights"):
        measured_again(with_manifest(accuracy, model__hash="0" * 64))


@pytest.mark.usefixtures("no_weights")
def test_a_damaged_unit_is_named(accuracy: Path) -> None:
    for file in (accuracy / "units").iterdir():
        file.write_bytes(b"PK half")
    with pytest.raises(FinstError, match=r"0000\d\.zarr\.zip is damaged"):
        measured_again(accuracy)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("recorded", ["cma", None])
def test_interventions_need_their_run_of_causal_mediation(tmp_path: Path, recorded: str | None) -> None:
    folder = with_manifest(unpacked("key-swap", tmp_path), spec__cma=recorded)
    with pytest.raises(FinstError, match=r"run of causal mediation whose heads .* is gone: expected it in"):
        measured_again(folder)


@pytest.mark.parametrize("place", ["key-swap-cma", "cma"])
def test_interventions_find_the_run_that_was_made_for_them(tmp_path: Path, place: str) -> None:
    folder = with_manifest(unpacked("key-swap", tmp_path), spec__cma=None)
    shutil.move(unpacked("cma", tmp_path / "elsewhere"), tmp_path / place)
    assert measured_again(folder).outcome == "reproduced"


def test_a_numerical_change_of_the_measurement_is_detected(accuracy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Accuracy.measure

    def changed(self: Accuracy, *arguments: Any) -> xr.Dataset:
        return measure(self, *arguments).isel({"trial": slice(None, None, -1)})

    monkeypatch.setattr(Accuracy, "measure", changed)
    assert measured_again(accuracy).outcome == "not reproduced"


def test_what_older_runs_did_not_say_of_their_pictures_is_no_difference() -> None:
    stored = xr.Dataset({"hits": ("trial", [1, 0])})
    measured = stored.assign(reading=((), "1 of 2 pictures are left out"))
    assert differences_of(0, stored, measured, "cpu", "cpu") == []
    assert [one.array for one in differences_of(0, measured, stored, "cpu", "cpu")] == ["reading"]
