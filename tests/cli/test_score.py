"""finst score: a model, a folder, several folders, and what is neither."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from finst.experiments.cma.experiment import CMA
from finst.experiments.representations.accuracy import Accuracy
from finst.plans import reproduce as module
from finst.plans.subjects import reproductions
from tests.cli.conftest import Finst

PLAN = """
title = "small"

[[step]]
experiment = "accuracy"
objects = [2]
entropies = ["low"]
placements = ["prefill"]
trials = {trials}

[[step]]
experiment = "pca"
trials = 2

[[step]]
experiment = "cma"
pairs = 4
only_correct = false
permutations = 9
bootstraps = 9
"""


@pytest.fixture(scope="module")
def bare() -> Iterator[None]:
    """Runs without figures and pages, which take most of the time of runs as small as these."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (Accuracy, CMA):
            patch.setattr(kind, "report", replace(kind.report, figures=lambda _: ()))
            patch.setattr(kind, "page", lambda *_: "")
        yield


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plan") / "small.toml"
    file.write_text(PLAN.format(trials=2))
    return file


@pytest.fixture(scope="module")
def scored(tiny: Path, plan: Path, tmp_path_factory: pytest.TempPathFactory, bare: None) -> Path:
    """The folder of a scored model, of which no test measures anything again."""
    from finst.cli.main import main

    out = tmp_path_factory.mktemp("scored") / "out"
    assert main(["score", str(tiny), "--plan", str(plan), "--out", str(out), "--device", "cpu"]) == 0
    return out


@pytest.fixture
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.executor, "run", lambda *_, **__: pytest.fail("a finished step ran again"))


def statuses(folder: Path) -> dict[str, str]:
    return {step["name"]: step["status"] for step in json.loads((folder / "reproduction.json").read_text())["steps"]}


def test_a_model_is_scored_by_the_steps_that_a_score_needs(scored: Path, tiny: Path) -> None:
    assert statuses(scored) == {"accuracy": "finished", "pca": "waiting", "cma": "finished"}
    score = json.loads((scored / "score.json").read_text())
    assert (score["model"], score["dtype"], score["device"]) == (str(tiny), "float32", "cpu")
    assert score["keys"]["accuracy.low.2"]["n"] == 2
    assert score["keys"]["stage.id-selection.strength"]["n"] == 4
    assert score["keys"]["key-swap.after"]["reason"] == "the plan has no step of key-swap"
    assert "accuracy.low.2" in (scored / "score.html").read_text()


@pytest.mark.usefixtures("nothing_is_measured")
def test_what_is_finished_is_not_measured_again_and_a_folder_keeps_its_plan(
    finst: Finst, scored: Path, tiny: Path
) -> None:
    before = (scored / "score.json").read_bytes()
    (scored / "score.json").unlink()
    outcome = finst("score", tiny, "--out", scored, "--device", "cpu")
    assert outcome.status == 0
    assert (scored / "score.json").read_bytes() == before
    assert f"page: {scored / 'score.html'}" in outcome.out
    assert not (scored / "earlier").exists()


def test_a_folder_is_scored_without_opening_a_model(
    finst: Finst, scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (scored / "score.json").read_bytes()
    monkeypatch.setattr(module, "open_reader", lambda *_, **__: pytest.fail("a model was opened"))
    outcome = finst("score", scored)
    assert (outcome.status, (scored / "score.json").read_bytes()) == (0, before)
    table = finst("score", scored, "--markdown").out
    assert table.startswith("| key |")


def test_folders_stand_side_by_side_and_only_the_page_is_written(
    finst: Finst, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "copy"
    other.mkdir()
    for name in ("accuracy", "cma"):
        (other / name).symlink_to(scored / name)
    (other / "reproduction.json").write_bytes((scored / "reproduction.json").read_bytes())
    outcome = finst("score", scored, other)
    assert outcome.status == 0
    assert outcome.out.splitlines()[-1] == "page: scores.html"
    assert f"tiny ({scored})" in (tmp_path / "scores.html").read_text()
    assert not (other / "score.json").exists()
    assert finst("score", scored, other, "--markdown", "--page", "x.html").out.startswith(f"| key | tiny ({scored})")


def test_a_step_that_fails_is_the_exit_status(
    finst: Finst, tiny: Path, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare: None
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(CMA, "measure", broken)
    outcome = finst("score", tiny, "--plan", plan, "--out", tmp_path / "out")
    assert outcome.status == 1
    score = json.loads((tmp_path / "out" / "score.json").read_text())
    assert score["keys"]["stage.id-selection.strength"]["reason"] == "ZeroDivisionError: by zero"
    assert score["keys"]["accuracy.low.2"]["value"] is not None


def test_what_cannot_be_scored_is_refused_and_nothing_is_written(
    finst: Finst, tiny: Path, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.toml").write_text('[[step]]\nexperiment = "pca"\n')
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in (
        ((), "nothing to score: expected one model, or folders"),
        (("organisn",), "unknown model 'organisn'"),
        (("empty",), "empty holds neither a reproduction nor a checkpoint"),
        ((tiny, tiny), "holds no reproduction, and 2 names were given"),
        ((scored, "organism"), "organism is a model, and 2 names were given"),
        ((scored, "nowhere"), "nowhere holds no reproduction, and 2 names were given"),
        ((scored, scored), "is given twice"),
        ((scored, "--full"), "--full was given, but"),
        ((scored, "--out", "x"), "--out was given, but"),
        ((scored, "--dtype", "bf16"), "--dtype was given, but"),
        ((scored, "--page", "x.html"), "--page was given: expected two or more folders"),
        ((tiny, "--fast", "--full"), "--fast and --full were given: expected one plan"),
        ((tiny, "--plan", "none.toml"), "the plan has no step that a score needs"),
        ((tiny, "--plan", "nowhere.toml"), "cannot read the plan nowhere.toml"),
    ):
        assert message in finst("score", *arguments).message
        assert sorted(tmp_path.rglob("*")) == before


def test_the_name_of_a_builtin_model_is_that_model(
    scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "organism").symlink_to(scored)
    assert reproductions(["organism"]) == ()
    assert reproductions(["./organism"]) == (Path("organism"),)
