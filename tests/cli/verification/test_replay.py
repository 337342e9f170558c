"""Cells of a run, or of the engine, replayed: correct results pass, changed ones are detected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from rich.console import Console

from finst.analysis import mediation
from finst.cli.main import main
from finst.cli.options import Verify
from finst.cli.verification import agreement, replay
from finst.cli.verification.replay import CellVerification
from finst.cli.verification.verify import verify
from finst.engine.sites import SITES
from finst.errors import FinstError
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.stored import stored_mediation
from finst.runs.archive import pack, unpack
from finst.runs.executor import run
from finst.runs.experiment import Unit
from finst.vlm.open import VLM
from tests.tiny import Body, checkpoint

BODY = Body(layers=2, heads=2, kv_heads=1)
CELLS = 2 * 3 * 4  # pairs, conditions, heads

MakeRun = Callable[..., Path]
Tamper = Callable[[xr.Dataset], xr.Dataset]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("verify") / "model", BODY))


@pytest.fixture(scope="module")
def runs(model: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Finished runs of two pairs in two units, by dtype; random answers are counted as correct."""

    class Generous(CMA):
        def measure(self, vlm: VLM, spec: CMASpec, unit: Unit, prepared: object = None) -> xr.Dataset:
            measured = super().measure(vlm, spec, unit, prepared)
            return measured.assign(correct=xr.ones_like(measured["correct"]))

    made: dict[str, Path] = {}

    def of(dtype: str) -> Path:
        if dtype not in made:
            spec = CMASpec(
                model,
                pairs=2,
                pairs_per_unit=1,
                dtype=dtype,  # pyright: ignore[reportArgumentType]
                device="cpu",
                permutations=20,
                bootstraps=20,
                seed=3,
            )
            out = tmp_path_factory.mktemp("verify") / dtype
            made[dtype] = run(Generous(), spec, out, console=Console(quiet=True)).folder
        return made[dtype]

    return of


@pytest.fixture
def copied(runs: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a run that a test may spoil, with the units changed by ``tamper``."""

    def copy(tamper: Tamper | None = None, dtype: str = "float32") -> Path:
        folder = Path(shutil.copytree(runs(dtype), tmp_path / "run"))
        for unit in sorted((folder / "units").iterdir()) if tamper else ():
            assert tamper is not None
            unit.write_bytes(pack(tamper(unpack(unit).load())))
        return folder

    return copy


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(*_: object, **__: object) -> None:
        pytest.fail("weights were loaded")

    monkeypatch.setattr(replay, "open_vlm", loads)


def manifest_with(folder: Path, **changes: Any) -> Path:
    """A run whose record was changed, in the format before checksums and labels, which only a replay can contradict."""
    for unit in (folder / "units").iterdir():
        unit.write_bytes(pack(unpack(unit)))
    file = folder / "manifest.json"
    data = {**json.loads(file.read_text()), "format": 2}
    del data["checksum"]
    for name, value in changes.items():
        part, _, field = name.partition("__")
        (data[part] if field else data)[field or part] = value
    file.write_text(json.dumps(data))
    return folder


def of_run(model: str, folder: Path, **how: Any) -> CellVerification:
    result = verify(Verify(model, run=folder, device="cpu", **{"cells": CELLS, **how}))
    assert isinstance(result, CellVerification)
    return result


def of_engine(model: str, cells: int) -> CellVerification:
    result = verify(Verify(model, cells=cells, device="cpu"))
    assert isinstance(result, CellVerification)
    return result


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_is_reproduced(model: str, runs: Callable[[str], Path], dtype: str) -> None:
    found = of_run(model, runs(dtype))
    assert found.outcome == "reproduced"
    assert [one.engine for one in found.replays] == ["hooks", "nnsight"]
    assert (found.cells, found.dtype, found.device, found.contradiction) == (CELLS, dtype, "cpu", "")
    assert found.largest_score == abs(stored_mediation(runs(dtype)).scores).max() > 1e-3
    for one in found.replays:
        assert 0 < one.logits < found.tolerance
        assert one.scores < 2 * found.tolerance
        assert one.where.startswith(("pair 0, ", "pair 1, "))
    assert found.tolerance >= agreement.TOLERANCE


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_changed_stored_logits_are_detected(model: str, copied: Callable[..., Path], dtype: str) -> None:
    """One logit of one cell, with the score that goes with it, in the second unit."""

    def tamper(unit: xr.Dataset) -> xr.Dataset:
        if unit["pair"].item() == 0:
            return unit
        at: Any = {"condition": "id_selection", "layer": 1, "head": 0}
        unit["patched_logits"].loc[{**at, "colour": "target"}] += 0.01
        answers = ["target", "described"]
        logits = (unit["patched_logits"].sel(at), unit["unedited_logits"].sel(condition="id_selection"))
        unit["score"].loc[at] = mediation.scores(*(part.sel(colour=answers).values for part in logits))
        return unit

    folder = copied(tamper, dtype)
    found = of_run(model, folder)
    assert (found.outcome, found.contradiction) == ("not reproduced", "")
    for one in found.replays:
        assert one.logits == pytest.approx(0.01, abs=1e-4)
        assert one.scores == pytest.approx(0.01, abs=2e-4)
        assert one.where == "pair 1, id_selection, L1H0"
    last = found.text.splitlines()[-1]
    assert last.startswith("not reproduced: ")
    assert "1.0e-02" in last
    assert "pair 1, id_selection, L1H0" in last


def test_scores_that_do_not_follow_from_their_logits_are_detected_in_any_format(
    model: str, copied: Callable[..., Path]
) -> None:
    def tamper(unit: xr.Dataset) -> xr.Dataset:
        unit["score"].loc[{"condition": "id_retrieval", "layer": 0, "head": 1}] += 1e-3
        return unit

    found = of_run(model, copied(tamper, "bfloat16"))
    assert (found.outcome, found.contradiction) == ("not reproduced", "pair 0, id_retrieval, L0H1")
    assert "pair 0, id_retrieval, L0H1" in found.text.splitlines()[-1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_detected(model: str, copied: Callable[..., Path], value: float) -> None:
    def tamper(unit: xr.Dataset) -> xr.Dataset:
        return unit.assign(patched_logits=xr.full_like(unit["patched_logits"], value))

    with np.errstate(invalid="ignore"):
        assert of_run(model, copied(tamper)).outcome == "not reproduced"


def test_changed_unedited_logits_are_detected(model: str, copied: Callable[..., Path]) -> None:
    def tamper(unit: xr.Dataset) -> xr.Dataset:
        return unit.assign(unedited_logits=unit["unedited_logits"] + np.float32(0.02))  # leaves every score alone

    found = of_run(model, copied(tamper))
    assert found.outcome == "not reproduced"
    assert all(one.unedited == pytest.approx(0.02, abs=1e-4) for one in found.replays)


def test_a_run_made_before_the_choice_of_readout_is_reproduced(model: str, copied: Callable[..., Path]) -> None:
    def older(unit: xr.Dataset) -> xr.Dataset:
        last = unit["unedited_logits"].sel(condition="id_selection", drop=True)
        return unit.assign(unedited_logits=last.reset_coords(drop=True)).drop_vars("recorded_logits")

    assert of_run(model, copied(older)).outcome == "reproduced"


@pytest.mark.parametrize("choice", [{"spec__readout": "patched_tokens"}, {"spec__logits": "bfloat16"}])
def test_runs_with_other_logits_than_the_last_tokens_in_full_are_refused(
    model: str, copied: Callable[..., Path], choice: dict[str, str]
) -> None:
    with pytest.raises(FinstError, match="are not replayed: expected one with 'last' and 'exact'"):
        of_run(model, manifest_with(copied(), **choice))


def test_a_run_of_another_seed_than_its_record_is_detected(model: str, copied: Callable[..., Path]) -> None:
    assert of_run(model, manifest_with(copied(), spec__seed=4)).outcome == "not reproduced"


def test_a_bfloat16_run_is_reported_and_not_judged(model: str, runs: Callable[[str], Path]) -> None:
    found = of_run(model, runs("bfloat16"))
    assert (found.outcome, found.contradiction) == ("not judged", "")
    assert all(one.logits > found.tolerance for one in found.replays)
    assert found.noise == stored_mediation(runs("bfloat16")).noise
    assert f"{found.noise:.1e}" in found.text.splitlines()[-1]


def test_a_run_on_another_kind_of_device_has_a_larger_tolerance(model: str, copied: Callable[..., Path]) -> None:
    folder = copied()
    here = of_run(model, folder, cells=2)
    there = of_run(model, manifest_with(folder, model__device="cuda:0"), cells=2)
    assert there.device == "cuda"
    assert there.tolerance == pytest.approx(agreement.ACROSS_DEVICES * here.tolerance)


def test_cells_are_drawn_by_the_seed_and_none_twice(model: str, runs: Callable[[str], Path]) -> None:
    stored = stored_mediation(runs("float64"))
    vlm = replay.open_vlm(model, dtype="float32", device="cpu")

    def names(cells: int, seed: int) -> tuple[str, ...]:
        return replay._sample_of_run(vlm, Verify(model, cells, seed=seed), stored).names

    assert names(7, 0) == names(7, 0) != names(7, 1)
    assert len(set(names(7, 0))) == 7
    assert len(set(names(10 * CELLS, 0))) == CELLS


def test_an_unfinished_run_is_verified_as_far_as_it_is_there(model: str, copied: Callable[..., Path]) -> None:
    folder = manifest_with(copied(), status="running", finished=None)
    (folder / "units" / "00000.zarr.zip").unlink()
    found = of_run(model, folder)
    assert (found.outcome, found.cells) == ("reproduced", CELLS // 2)
    assert all(one.where.startswith("pair 1, ") for one in found.replays)


def test_the_engine_is_reproduced_at_every_site(model: str) -> None:
    found = of_engine(model, 14)
    assert (found.outcome, found.cells, found.noise) == ("reproduced", 14, None)
    assert [one.engine for one in found.replays] == ["hooks", "nnsight"]
    assert found.largest_score > 10 * found.tolerance
    vlm = replay.open_vlm(model, dtype="float32", device="cpu")
    names = replay._sample_of_engine(vlm, Verify(model, cells=14), CMASpec(model)).names
    assert sorted(name.split()[1] for name in names) == sorted([*SITES] * 2)


def test_an_engine_that_errs_is_detected(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = replay.counterfactuals

    def wrong(*arguments: Any) -> torch.Tensor:
        logits = right(*arguments).clone()
        logits[3] += 0.01
        return logits

    monkeypatch.setattr(replay, "counterfactuals", wrong)
    found = of_engine(model, 5)
    assert found.outcome == "not reproduced"
    vlm = replay.open_vlm(model, dtype="float32", device="cpu")
    name = replay._sample_of_engine(vlm, Verify(model, cells=5), CMASpec(model)).names[2]
    assert {one.where for one in found.replays} == {name}


def test_without_nnsight(model: str, runs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "find_spec", lambda _: None)
    assert [one.engine for one in of_run(model, runs("float32"), cells=2).replays] == ["hooks"]


def test_the_same_weights_elsewhere_will_do_and_others_will_not(
    model: str, runs: Callable[[str], Path], tmp_path: Path
) -> None:
    moved = shutil.copytree(model, tmp_path / "moved")
    assert of_run(str(moved), runs("float32"), cells=2).outcome == "reproduced"
    other = checkpoint(tmp_path / "other", replace(BODY, seed=1))
    with pytest.raises(FinstError, match=r"holds a run of other weights .* expected the model that was measured"):
        of_run(str(other), runs("float32"))


@pytest.mark.usefixtures("no_weights")
def test_what_cannot_be_verified_is_refused_before_weights_load(
    model: str, runs: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(FinstError, match="unknown model 'no-such-model'"):
        verify(Verify("no-such-model"))
    with pytest.raises(FinstError, match="unknown model 'no-such-model'"):
        of_run("no-such-model", runs("float32"))
    for place in (tmp_path, tmp_path / "nowhere", Path(model) / "config.json"):
        with pytest.raises(FinstError, match=r"holds no run: expected a folder with manifest\.json"):
            of_run(model, place)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spec__pairs": "two"}, "CMASpec.pairs: expected int"),
        ({"spec__pairs": 1}, "do not hold each of the pairs"),
        ({"format": 99}, "is not a manifest of this finst"),
        ({"units": 3}, "holds 2 of the 3 units"),
        ({"units": 0}, "more units than the 0 it counts"),
    ],
)
def test_records_that_do_not_fit(
    model: str, copied: Callable[..., Path], changes: dict[str, object], message: str
) -> None:
    folder = manifest_with(copied(), **changes)
    with pytest.raises(FinstError, match=message):
        of_run(model, folder)


@pytest.mark.usefixtures("no_weights")
def test_a_run_of_another_revision(model: str, copied: Callable[..., Path], tmp_path: Path) -> None:
    moved = str(shutil.copytree(model, tmp_path / "moved"))
    with pytest.raises(FinstError, match=r"holds a run of .* at revision abc, not of .*moved at None"):
        of_run(moved, manifest_with(copied(), model__revision="abc"))


@pytest.mark.usefixtures("no_weights")
def test_damaged_folders(model: str, copied: Callable[..., Path]) -> None:
    folder = copied()
    unit = folder / "units" / "00001.zarr.zip"
    whole = unit.read_bytes()
    for spoiled in (b"", whole[: len(whole) // 2], pack(xr.Dataset()), pack(unpack(unit).drop_vars("score"))):
        unit.write_bytes(spoiled)
        with pytest.raises(FinstError, match=r"00001\.zarr\.zip is damaged"):
            of_run(model, folder)
    first = folder / "units" / "00000.zarr.zip"
    unit.write_bytes(first.read_bytes())
    with pytest.raises(FinstError, match=r"00001\.zarr\.zip was written for another run, or for another place in this"):
        of_run(model, folder)
    unit.write_bytes(pack(unpack(first)))
    with pytest.raises(FinstError, match=r"do not hold each of the pairs 0\.\.1 once"):
        of_run(model, folder)
    unit.unlink()
    with pytest.raises(FinstError, match="holds 1 of the 2 units that its manifest counts"):
        of_run(model, folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(FinstError, match=r"manifest\.json is damaged"):
        of_run(model, folder)


def test_fewer_heads_than_the_model_has(model: str, copied: Callable[..., Path]) -> None:
    folder = copied(lambda unit: unit.isel(head=[0]))
    with pytest.raises(FinstError, match=r"holds 2 layers of 1 heads, and .* has 2 of 2"):
        of_run(model, folder)


def test_exit_status_and_the_file(
    model: str, copied: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied()
    arguments = ["verify", model, "--run", str(folder), "--cells", "3", "--device", "cpu"]
    assert main([*arguments, "--json", str(tmp_path / "x.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith(f"{model}: 3 cells of {folder} (float32, cpu)")
    assert lines[-1].startswith("reproduced: ")
    written = json.loads((tmp_path / "x.json").read_text())
    assert (written["outcome"], written["cells"]) == ("reproduced", 3)
    assert [one["engine"] for one in written["replays"]] == ["hooks", "nnsight"]
    manifest_with(folder, spec__seed=4)
    assert main(arguments) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("not reproduced: ")
    assert main([*arguments, "--json", str(tmp_path / "no" / "x.json")]) == 2
