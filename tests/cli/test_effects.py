"""finst interventions: effects of finished runs in one table; and all interventions in turn."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import xarray as xr

from finst.cli import effects
from finst.cli.effects import interventions, rows_of
from finst.experiments.api import load
from finst.experiments.interventions.key_swap.experiment import KeySwap
from finst.experiments.interventions.key_swap.spec import KeySwapSpec
from finst.experiments.interventions.reuse.experiment import Reuse
from finst.experiments.interventions.reuse.spec import ReuseSpec
from finst.experiments.interventions.sentences import share_of
from finst.experiments.representations.spec import AccuracySpec
from finst.runs.finished import finished_run
from finst.runs.spec import to_json
from tests.cli.conftest import Finst
from tests.runs.finished import run_folder
from tests.runs.old_runs import unpacked


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Stored runs of two interventions."""
    return [unpacked("reuse", tmp_path), unpacked("transfer", tmp_path)]


def test_effects_of_different_experiments_stand_in_one_table(finst: Finst, runs: list[Path], tmp_path: Path) -> None:
    page, table, data = (tmp_path / f"all.{end}" for end in ("html", "csv", "json"))
    outcome = finst("interventions", *runs, "--out", page, "--csv", table, "--json", data)
    assert outcome.status == 0
    assert outcome.out.splitlines()[-1] == f"page: {page}"
    records = json.loads(data.read_text())
    counts = [len(rows_of([finished_run(folder)])) for folder in runs]
    assert [record["experiment"] for record in records] == ["reuse"] * counts[0] + ["transfer"] * counts[1]
    assert counts[0] == 2
    assert counts[1] > 1
    second, summary = records[1], load(runs[0]).summary.sel(mode="elsewhere", group="all")
    assert (second["model"], second["setting"], second["run"]) == ("planted", "K = 1, dose 2", str(runs[0]))
    top, controls = summary.sel(set="top"), summary.sel(set=summary["set"] != "top")
    assert [second[name] for name in ("n", "before", "after")] == [top[n].item() for n in ("n", "before", "after")]
    assert second["p"] == pytest.approx(float(top["p"]))
    assert second["control"] == float(controls["after"].max())
    assert second["control_name"] in controls["set"].values
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [float(row["after_low"]) for row in rows] == [record["after_low"] for record in records]
    html = page.read_text()
    assert f"{len(records)} effects of 2 interventions" in html
    assert 'id="figure-interventions"' in html
    assert all(str(folder) in html for folder in runs)


def test_the_table_as_markdown(finst: Finst, runs: list[Path], tmp_path: Path) -> None:
    lines = finst("interventions", runs[0], "--out", tmp_path / "page.html", "--markdown").out.splitlines()
    assert lines[0].startswith("| model | experiment | hit | setting |")
    assert {line.count("|") for line in lines} == {15}
    assert len(lines) == 4
    run = load(runs[0])
    top = run.summary.sel(mode="elsewhere", group="all", set="top")
    assert lines[3].split("|")[6:8] == [f" {share_of(top, name)} " for name in ("before", "after")]


def test_what_has_no_effects_is_refused_before_anything_is_written(
    finst: Finst, runs: list[Path], tmp_path: Path
) -> None:
    spec = to_json(AccuracySpec())
    other = run_folder(tmp_path / "accuracy", xr.Dataset(), spec, experiment="accuracy")
    page = tmp_path / "page.html"
    refusal = finst("interventions", runs[0], other, "--out", page).message
    assert f"{other} holds a run of 'accuracy', which has no effects" in refusal
    assert f"expected one of {', '.join(interventions())}" in refusal
    assert "is given twice" in finst("interventions", runs[0], runs[0], "--out", page).message
    assert "no run given" in finst("interventions", "--out", page).message
    old = run_folder(tmp_path / "old", xr.Dataset(), to_json(ReuseSpec()), experiment="reuse")
    assert "was summarised by an older finst" in finst("interventions", old, "--out", page).message
    assert not page.exists()


def test_interventions_of_one_kind_are_compared(finst: Finst, runs: list[Path], tmp_path: Path) -> None:
    other, page = unpacked("reuse", tmp_path / "other"), tmp_path / "page.html"
    assert finst("compare", runs[0], other, "--out", page).status == 0
    assert [f'id="figure-reuse-relations-{place}"' in page.read_text() for place in (1, 2, 3)] == [True, True, False]


@dataclass(frozen=True)
class SmallSpec(KeySwapSpec):
    """As small as can be."""

    trials: int = 8
    estimation: int = 4
    k: int = 1
    doses: tuple[float, ...] = (2.0,)


class SmallKeySwap(KeySwap):
    spec = SmallSpec


@dataclass(frozen=True)
class ImpossibleSpec(ReuseSpec):
    """More heads than there are."""

    ks: tuple[int, ...] = (10_000,)


class ImpossibleReuse(Reuse):
    spec = ImpossibleSpec


@pytest.mark.usefixtures("always_right")
def test_all_interventions_share_a_run_of_causal_mediation(
    finst: Finst, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "interventions", lambda: {"key-swap": SmallKeySwap(), "reuse": ImpossibleReuse()})
    out = tmp_path / "all"
    outcome = finst("run", "interventions", tiny, "--pairs", 4, "--seed", 3, "--out", out)
    assert outcome.status == 0, outcome.err
    assert {path.name for path in out.iterdir()} == {
        "cma",
        "key-swap",
        *(f"interventions.{e}" for e in ("html", "csv", "json")),
    }
    spec = json.loads((out / "key-swap" / "manifest.json").read_text())["spec"]
    assert (spec["seed"], spec["trials"], spec["draws"]) == (3, 8, 2)
    assert outcome.out.splitlines()[-1].startswith("not run: reuse: ks holds 10000")
    assert len(json.loads((out / "interventions.json").read_text())) == 1
