"""A reproduction that two processes measure: the same bytes as here, by workers that open the model once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import finst
from finst.experiments.cma.experiment import CMA
from finst.experiments.interventions.key_swap.experiment import KeySwap
from finst.experiments.representations.accuracy import Accuracy
from finst.plans.plan import parse_plan
from finst.plans.reproduce import reproduce
from finst.runs.backends.backend import Backend
from finst.vlm.spec import ModelSpec

PLAN = """
[[step]]
experiment = "accuracy"
objects = [2, 3]
entropies = ["low"]
placements = ["prefill"]
trials = 2
[[step]]
experiment = "cma"
pairs = 4
pairs_per_unit = 1
permutations = 9
bootstraps = 9
[[step]]
experiment = "key-swap"
trials = 8
trials_per_unit = 4
estimation = 8
draws = 1
k = 1
doses = [1.0]
"""

PLANTED = ModelSpec("planted", device="cpu")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without figures and pages."""
    for kind in (Accuracy, CMA, KeySwap):
        monkeypatch.setattr(kind, "report", replace(kind.report, figures=lambda _: ()))
        monkeypatch.setattr(kind, "page", lambda *_: "")


@pytest.fixture(scope="module")
def two() -> Iterator[Backend]:
    with finst.backend("processes", 2) as pool:
        yield pool


def data(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*.zip"))}


def executors(out: Path) -> set[str]:
    manifests = [json.loads(file.read_text()) for file in out.rglob("manifest.json")]
    return {session["executor"] for manifest in manifests for session in manifest["sessions"]}


def test_a_reproduction_by_two_workers_has_the_bytes_of_one_here(two: Backend, tmp_path: Path) -> None:
    plan = parse_plan(PLAN, "plan")
    assert reproduce(plan, PLANTED, tmp_path / "here").complete
    assert reproduce(plan, PLANTED, tmp_path / "two", backend=two).complete
    assert len(data(tmp_path / "here")) == 2 + 4 + 2 + 3
    assert data(tmp_path / "two") == data(tmp_path / "here")
    assert (executors(tmp_path / "here"), executors(tmp_path / "two")) == ({"here"}, {"processes"})


def test_what_an_intervention_runs_before_itself_is_measured_by_the_same_workers(two: Backend, tmp_path: Path) -> None:
    small = {"trials": 8, "trials_per_unit": 4, "estimation": 8, "draws": 1, "k": 1, "doses": [1.0], "pairs": 4}
    finst.run("key-swap", model="planted", device="cpu", out=tmp_path / "run", backend=two, **small)
    assert (tmp_path / "run-cma/manifest.json").is_file()
    assert executors(tmp_path) == {"processes"}
