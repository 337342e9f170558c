"""Experiments from Python: run, load, and what a run offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import finst
from finst.errors import FinstError
from finst.experiments.registry import REGISTRY
from finst.runs import executor
from tests.runs.toy import Toy, ToySpec
from tests.tiny import checkpoint

FEW = {"pairs": 4, "permutations": 9, "bootstraps": 9, "only_correct": False}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("api") / "tiny")


@pytest.fixture(scope="module")
def mediation(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> finst.Run:
    return finst.run("cma", model=str(tiny), out=tmp_path_factory.mktemp("api") / "cma", **FEW)


def test_a_run_offers_all_that_its_folder_holds(mediation: finst.Run, tiny: Path) -> None:
    assert (mediation.spec.model, mediation.spec.pairs) == (str(tiny), 4)
    assert mediation.manifest.status == "finished"
    assert [unit.sizes["pair"] for unit in mediation.units()] == [4]
    assert set(mediation.figures) == {"map", "panels", "profile", "pairs"}
    assert mediation.report.read_text().startswith("<!doctype html>")
    assert mediation.findings.headline in repr(mediation)


def test_what_is_loaded_is_what_was_run(mediation: finst.Run) -> None:
    again = finst.load(mediation.folder)
    xr.testing.assert_identical(again.summary, mediation.summary)
    assert again.spec == mediation.spec


def test_a_tidy_table_has_a_row_for_each_entry_of_the_statistic(mediation: finst.Run) -> None:
    mean = mediation.summary["mean"]
    table = mediation.frame()
    assert len(table) == mean.size
    assert {"condition", "layer", "head", "mean", "p_fwer", "above", "n"} <= set(table.columns)
    row = table.iloc[7]
    at = mean.sel(condition=row["condition"], layer=row["layer"], head=row["head"])
    assert row["mean"] == float(at)
    scores = mediation.frame("score")
    assert len(scores) == mediation.summary["score"].size
    assert "pair" in scores.columns
    with pytest.raises(FinstError, match="unknown variable 'scores'"):
        mediation.frame("scores")


def test_an_open_model_is_used_as_it_is(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = finst.open_vlm(str(tiny), dtype="float64")
    monkeypatch.setattr(executor, "open_vlm", lambda *_, **__: pytest.fail("the model was opened again"))
    run = finst.run("cma", vlm=vlm, out=str(tmp_path / "run"), **FEW)
    assert (run.spec.model, run.spec.dtype) == (str(tiny), "float64")
    assert run.summary["score"].dtype == np.float64
    with pytest.raises(FinstError, match="both vlm and dtype were given"):
        finst.run("cma", vlm=vlm, dtype="float32", out=tmp_path / "other")


def test_settings_may_be_of_numpy_and_lists(tiny: Path, tmp_path: Path) -> None:
    settings = {"objects": [2], "entropies": ("low",), "placements": ["prefill"], "trials": np.int64(2)}
    run = finst.run("accuracy", model=str(tiny), out=tmp_path / "run", **settings)
    assert (run.spec.objects, run.spec.trials) == ((2,), 2)
    assert run.frame()["accuracy"].tolist() == [0.0]


def test_bad_settings_are_refused_before_anything_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open_reader", "open_vlm"):
        monkeypatch.setattr(executor, name, lambda *_, **__: pytest.fail("a model was opened"))
    refusals: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("cmaa", {}, "unknown experiment 'cmaa': expected one of cma, pca"),
        ("cma", {"pears": 4}, "unknown field of CMASpec 'pears'"),
        ("cma", {"pairs": "four"}, "CMASpec.pairs: expected int, not 'four'"),
        ("cma", {"placement": "middle"}, "unknown CMASpec.placement 'middle'"),
    )
    for experiment, settings, message in refusals:
        with pytest.raises(FinstError, match=message):
            finst.run(experiment, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_an_experiment_of_ones_own_runs_and_loads(tiny: Path, tmp_path: Path) -> None:
    run = finst.run(Toy, model=str(tiny), units=2, out=tmp_path)
    assert (run.experiment.name, run.spec) == ("toy", ToySpec(str(tiny), units=2))
    assert finst.load(tmp_path, Toy).frame()["layer"].tolist() == [0, 1, 2, 0, 1, 2]
    with pytest.raises(FinstError, match="unknown experiment 'toy'"):
        finst.load(tmp_path)


@pytest.mark.parametrize("name", REGISTRY)
def test_every_registered_experiment_keeps_the_rules_of_the_registry(name: str) -> None:
    entry = REGISTRY[name]
    experiment = entry.load()
    module, _, kind = entry.spec_place.partition(":")
    assert experiment.name == name
    assert (experiment.spec.__module__, experiment.spec.__name__) == (module, kind)
    assert isinstance(experiment.statistic, str)
    assert experiment.spec() == experiment.spec(model="organism")
