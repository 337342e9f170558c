"""Run folders of an older finst are read, shown, summarised to the same numbers, and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finst.cli.compare import compare
from finst.experiments.api import Run, load
from finst.experiments.interventions.effect_rows import CHOICE, LEAD, NOT_KEPT, OWN
from finst.experiments.interventions.protocol import Intervention
from finst.experiments.registry import REGISTRY
from finst.report.figures import NamedFigure
from finst.runs.finished import comparable_runs
from finst.runs.spec import to_json
from tests.runs.old_runs import FOLDER, unpacked

INTERVENTIONS = ("photoreal", "key-swap", "reuse", "frame-patch", "rescue", "coco", "counting", "transfer")


REWORDED = ("p_all", "q")
"""Variables that are against more controls than in older summaries, and say so."""


UNDETERMINED = ("p", "p_fwer", "probe", "plane_probe", "probe_low", "probe_high")
"""Statistics that older summaries gave numbers to where the data do not determine them."""


@pytest.fixture(params=REGISTRY)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return load(unpacked(request.param, tmp_path))


def test_there_is_a_run_of_every_experiment() -> None:
    assert {file.stem for file in FOLDER.glob("*.zip")} == set(REGISTRY)
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 400_000


def test_an_old_run_is_read(run: Run) -> None:
    name = run.experiment.name
    assert isinstance(run.spec, run.experiment.spec)
    assert to_json(run.spec) == run.manifest.spec
    units = list(run.units())
    assert len(units) == run.manifest.units == len(run.experiment.plan(run.spec)) > 1
    table = run.frame()
    assert run.experiment.statistic in table
    assert len(table) == run.summary[run.experiment.statistic].size > 0
    assert run.findings.headline
    assert name in repr(run)
    assert all(len(row) == len(run.findings.columns) for row in run.findings.rows)
    assert run.figures
    assert all(figure.csv.count("\n") > 1 for figure in run.figures.values())


def test_units_of_an_old_run_give_the_same_summary(run: Run) -> None:
    """Exactly, but for sums that other processors round differently."""
    summary = run.experiment.summarise(run.spec, list(run.units()))
    added = {*summary.variables} - {*run.summary.variables}
    assert {*run.summary.variables} <= {*summary.variables}
    assert isinstance(run.experiment, Intervention) or not added
    assert {str(name).removeprefix("pooled_") for name in added} <= {*LEAD, *OWN, *CHOICE}
    assert {name: summary.attrs[name] for name in run.summary.attrs} == run.summary.attrs
    for name, stored in run.summary.variables.items():
        assert summary.variables[name].dims == stored.dims
        if stored.attrs and name not in REWORDED:
            assert summary.variables[name].attrs == stored.attrs
        if stored.dtype.kind == "f":
            # What its data do not determine was 1 or 0 then, and is NaN now.
            new = summary[name].values
            old = np.where(np.isnan(new), np.nan, stored.values)
            np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-7, err_msg=str(name))
            assert np.isnan(new).sum() <= np.isnan(stored.values).sum() or name in UNDETERMINED, name
        else:
            np.testing.assert_array_equal(summary[name].values, stored.values, err_msg=str(name))
    if {"r", "p"} <= {*summary.variables}:
        assert (summary["p"].isnull() == summary["r"].isnull()).all()


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_effects_of_an_old_run_say_what_was_not_kept(name: str, tmp_path: Path) -> None:
    """Controls at their own settings are shown where both halves' grids were kept, and all after a new summary."""
    run = load(unpacked(name, tmp_path))
    assert isinstance(run.experiment, Intervention)
    for row in run.experiment.report.effects(run.summary):
        assert (row.beyond, row.control.p, row.control.lead) == (None, None, None)
        assert (row.own is not None) == (name in ("photoreal", "reuse"))
        assert row.own is None or (row.own.p, row.own.lead) == (None, None)
        assert row.own is not None or row.without_own == ("none chosen" if name == "counting" else NOT_KEPT)
    again = run.experiment.report.effects(run.experiment.summarise(run.spec, list(run.units())))
    old = run.experiment.report.effects(run.summary)
    for row, before in zip(again, old, strict=True):
        assert row.beyond is not None
        assert (row.own is not None) == (name != "counting")
        assert (row.after, row.n, row.control.share) == (before.after, before.n, before.control.share)


@pytest.mark.parametrize("name", REGISTRY)
def test_two_old_runs_of_a_kind_are_compared(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for image in ("png", "svg"):  # drawing is tested elsewhere and takes the time
        monkeypatch.setattr(NamedFigure, image, b"" if image == "png" else "<svg></svg>")
    runs = [unpacked(name, tmp_path / place) for place in ("one", "two")]
    sides = compare(comparable_runs(runs))
    assert sides.html.startswith("<!doctype html>")
    assert len({figure.name for figure in sides.figures}) == len(sides.figures) > 0
    assert sides.text
