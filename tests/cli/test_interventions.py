"""finst interventions: effects of finished runs in one table; and all interventions in turn."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import xarray as xr

from finst.cli import effects
from finst.cli.effects import interventions
from finst.experiments.interventions.key_swap.experiment import KeySwap
from finst.experiments.interventions.key_swap.spec import KeySwapSpec
from finst.experiments.interventions.reuse.experiment import Reuse
from finst.experiments.interventions.reuse.spec import ReuseSpec
from finst.experiments.interventions.transfer.experiment import Transfer
from finst.experiments.representations.spec import AccuracySpec
from finst.runs.spec import to_json
from tests.cli.conftest import Finst
from tests.experiments.interventions.test_interventions import REUSE, planted
from tests.experiments.interventions.test_transfer import SPEC, answers
from tests.runs.finished import run_folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    of_description = replace(REUSE, trials=8)
    other = replace(SPEC, tasks=("description-2x2", "description-3x3", "enumeration"), model="other/model")
    of_reuse = Reuse().summarise(of_description, [planted(of_description, {"answer": (3, 1.0), "elsewhere": (1, 4.0)})])
    of_transfer = Transfer().summarise(other, [answers(other)])
    return [
        run_folder(tmp_path / "one", of_reuse, to_json(of_description), experiment="reuse"),
        run_folder(tmp_path / "two", of_transfer, to_json(other), experiment="transfer"),
    ]


def test_effects_of_different_experiments_stand_in_one_table(finst: Finst, runs: list[Path], tmp_path: Path) -> None:
    page, table, data = (tmp_path / f"all.{end}" for end in ("html", "csv", "json"))
    outcome = finst("interventions", *runs, "--out", page, "--csv", table, "--json", data)
    assert outcome.status == 0
    assert outcome.out.splitlines()[-1] == f"page: {page}"
    records = json.loads(data.read_text())
    assert [record["experiment"] for record in records] == ["reuse"] * 2 + ["transfer"] * 6
    first = records[1]
    assert (first["setting"], first["before"], first["after"], first["control"]) == ("K = 1, dose 4", 0, 1, 0)
    assert (first["n"], first["p"], first["run"]) == (16, pytest.approx(2 / 2**16), str(runs[0]))
    assert first["control_name"] == "random 0"
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [float(row["after_low"]) for row in rows] == [record["after_low"] for record in records]
    html = page.read_text()
    assert "8 effects of 2 interventions" in html
    assert 'id="figure-interventions"' in html
    assert html.count("<td>model</td>") == 6
    assert str(runs[1]) in html


def test_the_table_as_markdown(finst: Finst, runs: list[Path], tmp_path: Path) -> None:
    lines = finst("interventions", runs[0], "--out", tmp_path / "page.html", "--markdown").out.splitlines()
    assert lines[0].startswith("| model | experiment | hit | setting |")
    assert {line.count("|") for line in lines} == {11}
    assert lines[3].split("|")[5:9] == [" 0.0% [0.0%, 19.4%] ", " 100.0% [80.6%, 100.0%] ", *lines[3].split("|")[7:9]]
    assert len(lines) == 4


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
    old = run_folder(tmp_path / "old", xr.Dataset(), to_json(REUSE), experiment="reuse")
    assert "was summarised by an older finst" in finst("interventions", old, "--out", page).message
    assert not page.exists()


def test_interventions_of_one_kind_are_compared(finst: Finst, runs: list[Path], tmp_path: Path) -> None:
    summary = Reuse().summarise(replace(REUSE, trials=8), [planted(replace(REUSE, trials=8), {})])
    other = run_folder(tmp_path / "none", summary, to_json(replace(REUSE, trials=8)), experiment="reuse")
    page = tmp_path / "page.html"
    assert finst("compare", runs[0], other, "--out", page).status == 0
    assert page.read_text().count('id="figure-reuse-relations') == 2


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
