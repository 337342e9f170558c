"""Reproductions: resumed, changed, refused and failing steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import finst
from finst.errors import FinstError
from finst.experiments.cma.experiment import CMA
from finst.experiments.interventions.key_swap.experiment import KeySwap
from finst.experiments.representations.accuracy import Accuracy
from finst.plans import reproduce as module
from finst.plans.plan import Plan, parse_plan
from finst.plans.record import FORMAT, Reproduction, StepRecord, read_record, write_record
from finst.plans.reproduce import reproduce
from finst.vlm.spec import ModelSpec
from tests.tiny import checkpoint

ACCURACY = '[[step]]\nexperiment="accuracy"\nobjects=[2]\nentropies=["low"]\nplacements=["prefill"]\ntrials={trials}\n'
MEDIATION = '[[step]]\nexperiment="cma"\npairs={pairs}\nonly_correct=false\npermutations=9\nbootstraps=9\n'
SWAP = '[[step]]\nexperiment="key-swap"\ntrials=8\nestimation=8\ndraws=1\nk=1\ndoses=[1.0]\n'


def plan_of(trials: int = 2, pairs: int = 4) -> Plan:
    return parse_plan((ACCURACY + MEDIATION + SWAP).format(trials=trials, pairs=pairs), "plan")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return ModelSpec(str(checkpoint(tmp_path_factory.mktemp("plans") / "tiny")), device="cpu")


@pytest.fixture(scope="module")
def done(tiny: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole reproduction, which no test changes."""
    out = tmp_path_factory.mktemp("plans") / "out"
    assert reproduce(plan_of(), tiny, out).complete
    return out


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without figures and pages, which take most of the time of runs as small as these."""
    for kind in (Accuracy, CMA, KeySwap):
        monkeypatch.setattr(kind, "report", replace(kind.report, figures=lambda _: ()))
        monkeypatch.setattr(kind, "page", lambda *_: "")


def statuses(record: Reproduction) -> list[str]:
    return [step.status for step in record.steps]


def arrays(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("units/*.zip"))}


def broken(message: str) -> Callable[..., None]:
    def measure(*_: object, **__: object) -> None:
        raise ZeroDivisionError(message)

    return measure


def test_every_step_has_a_run_of_its_name_and_the_record_says_so(done: Path) -> None:
    record = read_record(done)
    assert record is not None
    assert [(step.name, step.status, step.reason) for step in record.steps] == [
        (name, "finished", "") for name in ("accuracy", "cma", "key-swap")
    ]
    assert all(step.seconds is not None and step.seconds > 0 for step in record.steps)
    runs = [finst.load(done / step.name) for step in record.steps]
    assert [run.experiment.name for run in runs] == ["accuracy", "cma", "key-swap"]
    assert {run.manifest.model.hash for run in runs} == {record.weights}
    assert parse_plan((done / "plan.toml").read_text(), "plan") == plan_of()


@pytest.mark.usefixtures("bare")
def test_steps_are_those_of_single_runs(tiny: ModelSpec, done: Path, tmp_path: Path) -> None:
    alone = finst.run("cma", model=tiny.model, device="cpu", out=tmp_path, pairs=4, only_correct=False,
                      permutations=9, bootstraps=9)  # fmt: skip
    together = finst.load(done / "cma")
    assert alone.spec == together.spec
    assert np.array_equal(alone.summary["mean"], together.summary["mean"])


def test_a_second_call_runs_nothing(tiny: ModelSpec, done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*.zip")}
    monkeypatch.setattr(module.executor, "run", lambda *_, **__: pytest.fail("a finished step ran again"))
    assert reproduce(plan_of(), tiny, done).complete
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*.zip")} == before


@pytest.mark.usefixtures("bare")
def test_a_changed_plan_runs_what_changed_and_keeps_the_earlier_runs(tiny: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reproduce(plan_of(), tiny, out)
    old = arrays(out)
    record = reproduce(plan_of(trials=3), tiny, out)
    assert record.complete
    assert finst.load(out / "accuracy").spec.trials == 3
    kept = {f"earlier/accuracy-1/{name.partition('/')[2]}": data for name, data in old.items() if "accuracy" in name}
    now = arrays(out)
    assert {name: now[name] for name in kept} == kept
    assert {n: d for n, d in now.items() if n.startswith(("cma", "key"))} == {
        n: d for n, d in old.items() if n.startswith(("cma", "key"))
    }
    # Heads that change are measured again wherever they are edited.
    assert reproduce(plan_of(trials=3, pairs=5), tiny, out).complete
    assert sorted(path.name for path in (out / "earlier").iterdir()) == ["accuracy-1", "cma-1", "key-swap-1"]
    # A plan without a step sets its run aside; the step comes back as a new one.
    only = parse_plan(ACCURACY.format(trials=3), "plan")
    assert statuses(reproduce(only, tiny, out)) == ["finished"]
    assert sorted(path.name for path in (out / "earlier").iterdir())[1:] == [
        "cma-1",
        "cma-2",
        "key-swap-1",
        "key-swap-2",
    ]


@pytest.mark.usefixtures("bare")
def test_some_steps_first_and_the_others_later(tiny: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert statuses(reproduce(plan_of(), tiny, out, only=["key-swap"])) == ["waiting", "finished", "finished"]
    first = arrays(out)
    assert statuses(reproduce(plan_of(), tiny, out)) == ["finished"] * 3
    assert first.items() <= arrays(out).items()


@pytest.mark.usefixtures("bare")
def test_a_step_that_fails_is_recorded_and_the_rest_runs(
    tiny: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(CMA, "measure", broken("by zero"))
        record = reproduce(plan_of(), tiny, out)
    assert statuses(record) == ["finished", "failed", "failed"]
    assert record.step("cma").reason == "ZeroDivisionError: by zero"
    assert record.step("key-swap").reason == "it edits the heads of cma, which failed"
    assert "in broken" not in record.step("cma").reason
    assert "ZeroDivisionError: by zero" in (out / "cma.error.txt").read_text()
    again = reproduce(plan_of(), tiny, out)
    assert again.complete
    assert not (out / "cma.error.txt").exists()


@pytest.mark.usefixtures("bare")
def test_a_step_that_the_model_cannot_run_is_recorded(
    tiny: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise FinstError("no object tokens")

    monkeypatch.setattr(CMA, "check", refuse)
    record = reproduce(plan_of(), tiny, tmp_path / "out")
    assert statuses(record) == ["finished", "cannot run", "cannot run"]
    assert [step.reason for step in record.steps[1:]] == [
        "no object tokens", "it edits the heads of cma, which cannot run"
    ]  # fmt: skip
    monkeypatch.setattr(Accuracy, "check", refuse)
    with pytest.raises(FinstError, match="can run no step of this plan: accuracy: no object tokens; cma"):
        reproduce(plan_of(), tiny, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("bare")
def test_an_interrupt_passes_and_the_next_call_resumes_to_the_same_bytes(
    tiny: ModelSpec, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(CMA, "summarise", interrupt)
        with pytest.raises(KeyboardInterrupt):
            reproduce(plan_of(), tiny, out)
    record = read_record(out)
    assert record is not None
    assert statuses(record) == ["finished", "running", "waiting"]
    assert reproduce(plan_of(), tiny, out).complete
    assert arrays(out) == arrays(done)


def test_folders_of_other_things_and_damaged_records_are_refused(tiny: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("mine", "file"):
        with pytest.raises(FinstError, match="holds no reproduction"):
            reproduce(plan_of(), tiny, tmp_path / name)
    for text in ("{", "[]", json.dumps({"format": 99}), json.dumps({"format": 1, "title": 3})):
        (tmp_path / "mine" / "reproduction.json").write_text(text)
        with pytest.raises(FinstError, match=r"reproduction\.json is damaged"):
            reproduce(plan_of(), tiny, tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["notes.txt", "reproduction.json"]


def test_a_folder_of_another_model_is_refused_and_left_as_it_is(tiny: ModelSpec, tmp_path: Path) -> None:
    steps = (StepRecord("accuracy", "accuracy", "finished", seconds=1.0),)
    write_record(tmp_path, Reproduction(FORMAT, "a plan", "another model", "0" * 64, steps))
    before = (tmp_path / "reproduction.json").read_bytes()
    with pytest.raises(FinstError, match="holds a reproduction of 'another model'"):
        reproduce(plan_of(), tiny, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["reproduction.json"]
    assert (tmp_path / "reproduction.json").read_bytes() == before
