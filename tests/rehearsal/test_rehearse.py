"""A whole rehearsal of a tiny model, and what a reproduction then says of itself."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from finst.cli.options import Reproduce
from finst.cli.rehearse import forecast, rehearsal_command
from finst.cli.reproduce import run as reproduced
from finst.errors import FinstError
from finst.experiments.cma.experiment import CMA
from finst.experiments.interventions.coco.experiment import Coco
from finst.experiments.representations.accuracy import Accuracy
from finst.plans.plan import parse_plan
from finst.rehearsal.estimate import CSV, JSON, read_rehearsal
from finst.rehearsal.rehearse import rehearse
from finst.rehearsal.subject import subject_of
from finst.vlm.spec import ModelSpec
from tests.tiny import checkpoint

PLAN = """
title = "three"
[[step]]
experiment = "accuracy"
objects = [2]
entropies = ["low"]
placements = ["prefill"]
trials = 12
[[step]]
experiment = "cma"
pairs = 8
permutations = 9
bootstraps = 9
[[step]]
experiment = "coco"
pictures = 8
splits = 1
ks = [1]
draws = 1
naming_tokens = 2
tokens = 2
"""


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without figures and pages, which take most of the time of runs as small as these."""
    for kind in (Accuracy, CMA, Coco):
        monkeypatch.setattr(kind, "report", replace(kind.report, figures=lambda _: ()))
        monkeypatch.setattr(kind, "page", lambda *_: "")


@pytest.mark.usefixtures("bare")
def test_a_rehearsal_of_random_weights_measures_every_step_and_a_reproduction_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny, out, file = str(checkpoint(tmp_path / "tiny")), tmp_path / "out", tmp_path / "plan.toml"
    file.write_text(PLAN)
    model, quiet = ModelSpec(tiny, device="cpu"), Console(file=io.StringIO())
    # Nothing is answered right, and the same work is done: cma alone would refuse these weights, coco too.
    result = rehearse(parse_plan(PLAN, "plan"), model, out, console=quiet)
    assert [(step.name, step.reason) for step in result.steps] == [("accuracy", ""), ("cma", ""), ("coco", "")]
    assert [(step.trials, step.units) for step in result.steps] == [(12, 1), (8, 2), (8, 1)]
    samples = [step.sample for step in result.steps]
    assert [(s.trials, s.units, s.pictures, s.statistics) for s in samples if s] == [
        (2, 1, 0, 12), (4, 4, 0, 8), (8, 4, 8, 8)
    ]  # fmt: skip
    for step in result.steps:
        parts = (step.prepare, step.measure, step.statistics, step.report)
        assert step.total.low <= step.total.value <= step.total.high
        assert 0 < step.fixed <= step.total.value
        assert step.total.value >= sum(part.value for part in parts) > 0
        assert step.host_bytes > 50 << 20
        assert step.gpu_bytes is None
        assert step.disk_bytes > 1000
    assert "every picture counts" in " ".join(result.notes)
    assert "Random weights" in result.notes[0]
    assert read_rehearsal(out) == result
    assert sorted(path.name for path in out.iterdir()) == sorted((CSV, JSON))

    said = io.StringIO()
    options = Reproduce(tiny, plan=file, device="cpu", only=("accuracy",), out=tmp_path / "paper")
    assert not reproduced(options, Console(file=said, width=200)).record.complete
    lines = said.getvalue().splitlines()
    assert lines[0].startswith("expected: ")
    assert "for 1 step, by a rehearsal on this machine with 1 measured unit" in lines[0]
    assert "of host memory" in lines[1]
    assert any(line.startswith("step 1 of 1: accuracy, about ") for line in lines)


def test_the_command_of_a_rehearsal_has_the_choices_of_the_reproduction() -> None:
    options = Reproduce("a/b", full=True, only=("cma",), dtype="bfloat16", out=Path("x"))
    assert rehearsal_command(options) == "finst rehearse a/b --full --only cma --dtype bfloat16"
    assert rehearsal_command(Reproduce("organism", plan=Path("my plan"))) == "finst rehearse organism --plan 'my plan'"


def test_nothing_is_said_of_nothing_to_run_and_steps_without_an_estimate_are_named() -> None:
    assert forecast({}, [], "c") == ()
    assert forecast({}, ["cma"], "c") == ("how long this takes is not known; to estimate it: c",)


def test_what_is_refused_creates_nothing(tmp_path: Path) -> None:
    plan, out = parse_plan(PLAN, "plan"), tmp_path / "out"
    for model, message in (
        (ModelSpec("qwen2-vl-2b", revision="main"), "no revision"),
        (ModelSpec("nothing-like-this"), "unknown model"),
        (ModelSpec("qwen2-vl-2b", device="abacus"), "abacus"),
        (ModelSpec("qwen2.5-vl-32b", dtype="float64"), "expected a smaller shape"),
    ):
        with pytest.raises(FinstError, match=message):
            rehearse(plan, model, out, only=["accuracy"])
        assert not out.exists()
    with pytest.raises(FinstError, match="unknown step 'pca'"):
        rehearse(plan, ModelSpec(), out, only=["pca"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(FinstError, match="holds no rehearsal"):
        rehearse(plan, ModelSpec(), tmp_path / "mine")


def test_a_published_shape_and_a_built_in_model_say_what_stands_for_what() -> None:
    assert len(subject_of(ModelSpec("smolvlm2-500m")).stand_ins) == 2
    assert subject_of(ModelSpec("organism")).stand_ins == ()
    assert subject_of(ModelSpec("organism")).trained
