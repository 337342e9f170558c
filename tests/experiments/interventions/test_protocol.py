"""What all interventions share: heads of the same model, checks, and runs that end with a report."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from rich.console import Console

from finst.errors import FinstError
from finst.experiments.interventions.counting.experiment import Counting
from finst.experiments.interventions.estimates import Prototypes
from finst.experiments.interventions.frame_patch import design as frame_patch_design
from finst.experiments.interventions.frame_patch import experiment as frame_patch
from finst.experiments.interventions.frame_patch.experiment import FramePatch
from finst.experiments.interventions.key_swap.experiment import KeySwap
from finst.experiments.interventions.photoreal.experiment import Photoreal
from finst.experiments.interventions.protocol import Intervention, check_intervention, require_identical
from finst.experiments.interventions.rescue.experiment import Rescue
from finst.experiments.interventions.reuse.experiment import Reuse
from finst.experiments.interventions.transfer.experiment import Transfer
from finst.runs.archive import pack, unpack
from finst.runs.executor import run
from finst.vlm.open import VLM, open_vlm
from tests import tiny
from tests.experiments.interventions.small import (
    COUNTING,
    FRAMES,
    RESCUE,
    REUSE,
    STEER,
    SWAP,
    TRANSFER,
    ids_of,
    maps_of,
    measured,
)

LITTLE = replace(TRANSFER, tasks=("description-sided", "enumeration"), ks=(1,), doses=(1.0,))

EVERY: Mapping[str, tuple[type[Intervention[Any]], Any, set[str]]] = {
    "reuse": (Reuse, REUSE, {"reuse-relations", "reuse-grid"}),
    "photoreal": (
        Photoreal,
        STEER,
        {f"photoreal-{name}-{row}-row" for name in ("sides", "grid", "dose", "k") for row in ("upper", "lower")},
    ),
    "key-swap": (KeySwap, SWAP, {"key-swap-dose", "key-swap-sides"}),
    "frame-patch": (FramePatch, FRAMES, {"frame-patch"}),
    "transfer": (Transfer, LITTLE, {"transfer"}),
    "rescue": (Rescue, RESCUE, {"rescue"}),
    "counting": (Counting, COUNTING, {"counting"}),
}
"""Each intervention, its spec and the names of its figures; ``coco`` has a run of its own."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("interventions") / "tiny")


@pytest.fixture(scope="module")
def vlm(folder: Path) -> VLM:
    return open_vlm(str(folder), dtype="float64", device="cpu")


def test_units_of_other_heads_are_refused():
    parts = [xr.Dataset({"heads": ("k", [name])}) for name in ("L0H1", "L0H1", "L1H0")]
    assert require_identical(parts[:2], ["heads"]) == parts[:2]
    with pytest.raises(FinstError, match="measured with different heads"):
        require_identical(parts, ["heads"])


def test_maps_of_other_weights_and_no_maps_are_refused(vlm: VLM):
    with pytest.raises(FinstError, match="measured other weights"):
        measured(Reuse(), vlm, REUSE, replace(maps_of(vlm), weights="0" * 64))
    with pytest.raises(FinstError, match="expected a run"):
        measured(Reuse(), vlm, REUSE, None)


@pytest.mark.parametrize(
    ("changes", "doses", "message"),
    [
        ({}, (), r"doses is \(\): expected one or more"),
        ({}, (1.0, 1.0), "doses is .*: expected one or more different numbers"),
        ({"draws": 0}, (1.0,), "draws is 0"),
        ({"alpha": 1.0}, (1.0,), "between 0 and 1"),
        ({"cma": Path("no/where")}, (1.0,), "no/where holds no run"),
    ],
)
def test_shared_settings_are_checked(changes: dict[str, Any], doses: tuple[float, ...], message: str):
    check_intervention(REUSE)
    with pytest.raises(FinstError, match=message):
        check_intervention(replace(REUSE, **changes, doses=doses))


@pytest.mark.parametrize("name", EVERY)
def test_a_run_ends_with_a_report_and_a_unit_measured_again_has_equal_bytes(
    name: str, folder: Path, vlm: VLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for module in (frame_patch, frame_patch_design):
        monkeypatch.setattr(module, "PAIRS", frame_patch_design.PAIRS[:3])
    ids = ids_of(vlm)
    few = {"2x2": Prototypes(ids.values[:4], ids.counts[:4])}
    monkeypatch.setattr(Reuse, "estimate", lambda *_: ids)
    monkeypatch.setattr(Rescue, "estimate", lambda *_: few)
    kind, small, names = EVERY[name]
    spec = replace(small, model=str(folder), trials_per_unit=8 if name == "transfer" else 4)
    experiment, maps = kind(), maps_of(vlm)
    done = run(experiment, spec, tmp_path / "run", console=Console(file=io.StringIO()), inputs=maps)
    html = done.report.read_text()
    assert experiment.report.findings(done.summary).headline[:30] in html
    assert all(row.n and 0 <= row.p <= 1 for row in experiment.report.effects(done.summary))
    assert set(experiment.kept or experiment.documentation) <= set(done.summary)
    assert done.summary.attrs.items() >= {**experiment.attrs, "seed": spec.seed, "draws": spec.draws}.items()
    figures = {path.stem for path in done.folder.glob("figures/*.csv")}
    assert figures == names
    assert all(f'id="figure-{figure}"' in html for figure in figures)
    units = sorted(done.folder.glob("units/*"))
    fresh = open_vlm(str(folder), dtype="float64", device="cpu")
    assert pack(measured(kind(), fresh, spec, maps, kind().plan(spec)[-1])) == pack(unpack(units[-1]))
    summary = experiment.summarise(spec, [unpack(unit) for unit in units])
    assert pack(summary) == pack(unpack(done.folder / "summary.zarr.zip"))
