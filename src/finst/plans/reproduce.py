"""Runs a plan: every experiment into a folder of its own, with the model opened once by every process."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

from finst.errors import FinstError
from finst.experiments.cma.stored import head_maps
from finst.experiments.registry import experiment_of
from finst.plans.plan import Plan, Step
from finst.plans.record import FORMAT, Reproduction, Status, StepRecord, key_of, read_record, write_record
from finst.plans.view import PlanView, plan_view
from finst.runs import executor
from finst.runs.archive import write_atomically
from finst.runs.backends.backend import Backend
from finst.runs.finished import manifest_of
from finst.runs.progress import print_line
from finst.runs.spec import to_json
from finst.runs.store import RunFolder
from finst.vlm.open import VLM, Reader, open_reader, open_vlm
from finst.vlm.spec import ModelSpec

EARLIER = "earlier"
"""The folder for runs of steps whose settings, weights or heads have changed since."""


@dataclass(frozen=True, eq=False)
class _Work:
    """What all steps share."""

    vlm: VLM
    out: Path
    console: Console
    view: PlanView
    experiments: Callable[[str], Any]
    backend: Backend | None


def reproduce(
    plan: Plan,
    model: ModelSpec,
    out: Path,
    *,
    only: Sequence[str] = (),
    console: Console | None = None,
    vlm: VLM | None = None,
    experiments: Callable[[str], Any] = experiment_of,
    expected: Mapping[str, float] = MappingProxyType({}),
    backend: Backend | None = None,
) -> Reproduction:
    """Runs the steps of ``plan`` with this model into folders of their names under ``out``.

    ``only`` names the steps to run, besides those whose heads they edit; all by default. A step that the model cannot
    run, or that fails, is recorded with its reason and the rest runs. A second call resumes: finished steps with
    unchanged settings, weights and heads are not run again, and runs of others are moved to the folder ``earlier``.
    ``vlm`` is the model if it is already open. ``experiments`` gives the experiment of a name. ``expected`` has the
    seconds that a rehearsal expects of steps, for the progress. ``backend`` measures the units of all steps, by default
    in this process; the caller closes it. Raises FinstError, before any weight loads, for an
    unknown model or step, a plan of which the model can run nothing, and a folder that holds anything else.
    KeyboardInterrupt passes, and what is measured is kept.
    """
    console = console or Console(stderr=True)
    chosen = plan.with_heads(only or [step.name for step in plan.steps])
    reader = vlm.reader if vlm else open_reader(model.model, revision=model.revision)
    specs = {step.name: step.spec(model) for step in plan.steps}
    refused = _refusals(plan, specs, reader, experiments)
    if all(step.name in refused for step in chosen):
        listed = "; ".join(f"{step.name}: {refused[step.name]}" for step in chosen)
        raise FinstError(f"{model.model} can run no step of this plan: {listed}")
    before = read_record(out)
    if before is not None and before.model != reader.id:
        raise FinstError(f"{out} holds a reproduction of {before.model!r}: expected another folder for {reader.id!r}")
    if before is None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FinstError(f"{out} holds no reproduction: expected a new or empty folder, or one of an earlier call")
    vlm = vlm or open_vlm(reader, dtype=model.dtype, device=model.device)
    with RunFolder(out, "reproduction", {}).held():
        record = _new_record(plan, specs, refused, vlm, before, out)
        _move_others(out, record, before)
        write_atomically(out / "plan.toml", plan.source.encode())
        write_record(out, record)
        statuses = {step.name: record.step(step.name).status for step in chosen}
        with plan_view(console, statuses, expected) as view:
            work = _Work(vlm, out, console, view, experiments, backend)
            for step in chosen:
                view.begin(step.name)
                record = _run_step(work, step, specs[step.name], record)
                view.ended(step.name, record.step(step.name).status)
    return record


def _refusals(plan: Plan, specs: dict[str, Any], reader: Reader, experiments: Callable[[str], Any]) -> dict[str, str]:
    """Why steps cannot be run with this model, before weights load."""
    refused: dict[str, str] = {}
    for step in plan.steps:
        try:
            experiments(step.experiment).check(specs[step.name], reader)
        except FinstError as refusal:
            refused[step.name] = str(refusal)
            continue
        if step.heads in refused:
            refused[step.name] = f"it edits the heads of {step.heads}, which cannot run"
    return refused


def _new_record(
    plan: Plan, specs: dict[str, Any], refused: dict[str, str], vlm: VLM, before: Reproduction | None, out: Path
) -> Reproduction:
    """The record at the start: finished steps of an earlier call stay finished if their keys are the same."""
    keys: dict[str, str] = {}
    steps: list[StepRecord] = []
    earlier = {} if before is None else {step.name: step for step in before.steps}
    for step in plan.steps:
        heads = keys.get(step.heads or "", "")
        keys[step.name] = key_of(step.experiment, to_json(specs[step.name]), vlm.weights_hash, heads)
        known = earlier.get(step.name)
        if step.name in refused:
            steps.append(StepRecord(step.name, step.experiment, "cannot run", refused[step.name], keys[step.name]))
        elif known is not None and known.key == keys[step.name] and is_finished(out / step.name):
            steps.append(replace(known, status="finished", reason=""))
        else:
            steps.append(StepRecord(step.name, step.experiment, key=keys[step.name]))
    return Reproduction(FORMAT, plan.title, vlm.reader.id, vlm.weights_hash, tuple(steps))


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished run."""
    try:
        return manifest_of(folder).status == "finished"
    except FinstError:
        return False


def _move_others(out: Path, record: Reproduction, before: Reproduction | None) -> None:
    """Moves the runs of steps that are no longer planned, or were made with another key, to ``EARLIER``."""
    keys = {step.name: step.key for step in record.steps}
    for step in () if before is None else before.steps:
        folder = out / step.name
        if not folder.is_dir() or keys.get(step.name) == step.key:
            continue
        (out / EARLIER).mkdir(exist_ok=True)
        number = next(n for n in count(1) if not (out / EARLIER / f"{step.name}-{n}").exists())
        folder.rename(out / EARLIER / f"{step.name}-{number}")


def _run_step(work: _Work, step: Step, spec: Any, record: Reproduction) -> Reproduction:
    """The record after the step; it is also written before and after it."""
    at = record.step(step.name)
    if at.status == "finished":
        print_line(work.console, f"{step.name} was finished before")
        return record
    if at.status == "cannot run":
        print_line(work.console, f"{step.name} cannot run: {at.reason}")
        return record
    trace = work.out / f"{step.name}.error.txt"
    trace.unlink(missing_ok=True)
    if step.heads is not None and record.step(step.heads).status != "finished":
        return _ended(work, record, step, "failed", reason=f"it edits the heads of {step.heads}, which failed")
    record = _ended(work, record, step, "running", reason="")
    started = time.perf_counter()
    try:
        inputs = None if step.heads is None else head_maps(work.out / step.heads)
        experiment, shown = work.experiments(step.experiment), {"console": work.console, "watcher": work.view}
        out = work.out / step.name
        executor.run(experiment, spec, out, vlm=work.vlm, inputs=inputs, backend=work.backend, **shown)
    except FinstError as error:
        reason = str(error)
    except Exception as error:  # one step must not cost the others
        reason = f"{type(error).__name__}: {error}"
        write_atomically(trace, traceback.format_exc().encode())
    else:
        seconds = round(time.perf_counter() - started, 3)
        return _ended(work, record, step, "finished", seconds=seconds)
    print_line(work.console, f"{step.name} failed: {reason}")
    return _ended(work, record, step, "failed", reason=reason)


def _ended(work: _Work, record: Reproduction, step: Step, status: Status, **changes: Any) -> Reproduction:
    """The record with another status of the step, which is written."""
    record = record.updated(step.name, status=status, **changes)
    write_record(work.out, record)
    return record
