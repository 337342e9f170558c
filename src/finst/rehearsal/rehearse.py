"""Rehearses a plan: every experiment at a small size through the code of a reproduction, and what the whole takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from finst.errors import FinstError
from finst.experiments.cma.stored import head_maps
from finst.plans.plan import MODEL_FIELDS, Plan, Step
from finst.plans.record import Reproduction
from finst.plans.reproduce import reproduce
from finst.rehearsal.any_answer import STAND_INS, rehearsed
from finst.rehearsal.estimate import FORMAT, JSON, Rehearsal, StepEstimate, write_rehearsal
from finst.rehearsal.known import key_of, remember
from finst.rehearsal.sizes import count, small, units_of
from finst.rehearsal.subject import Subject, opened, subject_of
from finst.rehearsal.timing import Rehearsed, timed, times_of
from finst.report.wording import counted
from finst.runs.archive import make_folder
from finst.runs.progress import print_line, waiting
from finst.runs.provenance import machine, now
from finst.runs.spec import to_json
from finst.vlm.open import VLM
from finst.vlm.spec import ModelSpec

NOT_INCLUDED = (
    "Times are of this machine as busy as it was. Ranges: two standard errors over the measured units, and for "
    "estimates and statistics the ways in which they may grow. Reading the weights is not included."
)

LONG_ANSWERS = (
    "Random weights seldom end an answer, so every text takes its whole budget; trained models answer in fewer tokens."
)


SMALL = ".small-"
"""Begins the name of the folder of the small runs, which is deleted at the end."""


@dataclass(frozen=True, eq=False)
class _Planned:
    """A step that the model can run."""

    step: Step
    spec: Any
    planning: float
    """Seconds of its check and plan, at the plan's size."""


def rehearse(
    plan: Plan, model: ModelSpec, out: Path, *, only: Sequence[str] = (), console: Console | None = None
) -> Rehearsal:
    """Estimates time, memory and disk of ``finst reproduce`` with this plan, model and machine; writes them to ``out``.

    ``model`` may also be the name of a published shape. ``only`` names steps, as for ``reproduce``. A step that cannot
    run or fails has its reason instead of an estimate. The small runs are deleted at the end. Raises FinstError, before
    any weight is made, for whatever ``reproduce`` refuses, and for a folder that holds anything but a rehearsal.
    """
    console = console or Console(stderr=True)
    chosen = plan.with_heads(only or [step.name for step in plan.steps])
    _check_folder(out)
    subject = subject_of(model)
    planned, refused = _planned(chosen, model, subject)
    if not planned:
        listed = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise FinstError(f"{model.model} can run no step of this plan: {listed}")
    with opened(subject, model) as vlm:
        make_folder(out)
        with TemporaryDirectory(prefix=SMALL, dir=out) as folder:
            started = time.perf_counter()
            estimates = _estimates(plan, planned, model, vlm, Path(folder) / "runs", console)
            device, took = str(vlm.device), time.perf_counter() - started
    result = Rehearsal(
        FORMAT,
        plan.title,
        model.model,
        model.dtype,
        device,
        machine(),
        now(),
        round(took, 3),
        _notes(subject, chosen),
        tuple(
            estimates.get(step.name) or StepEstimate(step.name, step.experiment, "", refused.get(step.name, ""))
            for step in chosen
        ),
    )
    write_rehearsal(out, result)
    remember(result.steps)
    return result


def _check_folder(out: Path) -> None:
    """Raises FinstError for a folder that holds anything but a rehearsal, or what is left of an interrupted one."""
    others = [path for path in out.iterdir() if not path.name.startswith(SMALL)] if out.is_dir() else []
    if (out.exists() and not out.is_dir()) or (others and not (out / JSON).is_file()):
        raise FinstError(f"{out} holds no rehearsal: expected a new or empty folder, or one of an earlier rehearsal")


def _planned(
    chosen: Sequence[Step], model: ModelSpec, subject: Subject
) -> tuple[Mapping[str, _Planned], Mapping[str, str]]:
    """The steps that the model can run, checked and planned at the plan's size; and why it cannot run the others."""
    planned: dict[str, _Planned] = {}
    refused: dict[str, str] = {}
    for step in chosen:
        spec = step.spec(model)
        if step.heads in refused:
            refused[step.name] = f"it edits the heads of {step.heads}, which cannot run"
            continue
        try:
            _, seconds = timed(lambda step=step, spec=spec: _check(step, spec, subject))
        except FinstError as refusal:
            refused[step.name] = str(refusal)
        else:
            planned[step.name] = _Planned(step, spec, seconds)
    return planned, refused


def _check(step: Step, spec: Any, subject: Subject) -> None:
    rehearsed(step.experiment).check(spec, subject.reader)
    units_of(step.experiment, spec)


def _settings(planned: _Planned) -> dict[str, Any]:
    """The settings of the small run, as a plan has them."""
    spec = to_json(small(planned.step.experiment, planned.spec))
    return {name: value for name, value in spec.items() if name not in (*MODEL_FIELDS, "cma")}


def _estimates(
    plan: Plan, planned: Mapping[str, _Planned], model: ModelSpec, vlm: VLM, runs: Path, console: Console
) -> dict[str, StepEstimate]:
    """Runs the planned steps at a small size into ``runs``, then times their parts."""
    print_line(console, f"rehearsing {counted(len(planned), 'step')} at a small size")
    steps = tuple(replace(each.step, settings=_settings(each)) for each in planned.values())
    record = reproduce(Plan(plan.title, steps), model, runs, console=console, vlm=vlm, experiments=rehearsed)
    return {name: _estimate(each, record, runs, vlm, model, console) for name, each in planned.items()}


def _estimate(
    planned: _Planned, record: Reproduction, runs: Path, vlm: VLM, model: ModelSpec, console: Console
) -> StepEstimate:
    """The estimate of a step, whose small run is in the folder of its name in ``runs``."""
    step, spec, done = planned.step, planned.spec, record.step(planned.step.name)
    nothing = StepEstimate(step.name, step.experiment, key_of(step, spec, vlm.reader, model))
    if done.seconds is None:
        return replace(nothing, reason=done.reason)
    inputs = None if step.heads is None else head_maps(runs / step.heads)
    name, experiment = step.experiment, rehearsed(step.experiment)
    run = Rehearsed(experiment, spec, small(name, spec), runs / step.name, done.seconds, inputs)
    try:
        with waiting(console, f"timing the parts of {step.name}"):
            found = times_of(run, vlm, planned.planning)
    except FinstError as error:
        return replace(nothing, reason=str(error))
    sizes = {"trials": count(name, spec), "units": len(units_of(name, spec))}
    return replace(nothing, **sizes, **{field.name: getattr(found, field.name) for field in fields(found)})


def _notes(subject: Subject, chosen: Sequence[Step]) -> tuple[str, ...]:
    experiments = dict.fromkeys(step.experiment for step in chosen)
    same_work = [f"{name}: {STAND_INS[name]}" for name in experiments if name in STAND_INS]
    by_any = f"So that any answers give the same work: {'; '.join(same_work)}." if same_work else ""
    lengths = "" if subject.trained else LONG_ANSWERS
    return tuple(filter(None, (*subject.stand_ins, lengths, by_any, NOT_INCLUDED)))
