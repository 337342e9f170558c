"""The score of a model: the numbers by which a checkpoint is tracked and compared, from a folder of a reproduction."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from finst.errors import FinstError
from finst.experiments.api import Run, load
from finst.plans.plan import MODEL_FIELDS, Plan, Step
from finst.plans.record import Reproduction, StepRecord, known_record
from finst.plans.scores.keys import KEYS, SCORED, KeyFamily, Unit
from finst.plans.scores.readings import Reading, readings, wrong_level
from finst.report.status import Status
from finst.report.wording import listed
from finst.runs.archive import write_atomically
from finst.runs.finished import PRACTICAL
from finst.runs.spec import to_json

FORMAT = 1
"""Version of the file's format."""

NOT_PLANNED = "not planned"
"""The status of an experiment without a step in the plan."""

FILE, PAGE = "score.json", "score.html"
"""Names of a score's files in the folder of the reproduction."""


StepT = TypeVar("StepT", Step, StepRecord)
"""A planned step, or what became of it."""


@dataclass(frozen=True)
class Number:
    """One key of a score. None for what is not known; ``reason`` says why there is no value."""

    value: float | None
    low: float | None
    """Lower end of the 95 % interval."""
    high: float | None
    n: int | None
    samples: str
    """What n counts."""
    unit: Unit
    against: str
    """What the value and p are compared with."""
    p: float | None
    verdict: Status | None
    """Found: beyond what it is compared with, by the rules of the reports and claims. None where nothing is tested."""
    detail: str
    """Which head, layer or setting."""
    reason: str


@dataclass(frozen=True)
class ScoredStep:
    """The step that gives an experiment's numbers."""

    experiment: str
    step: str
    """Its name in the plan; empty where the plan has none."""
    status: str
    reason: str
    """Why it has no numbers; empty where it has."""
    settings: str | None
    """Hash of the settings without those of the model: equal hashes were measured in the same way."""
    finst: str | None
    """The version that measured it."""


@dataclass(frozen=True)
class PlanRecord:
    """The plan's title, and a hash of the settings of all its steps that are scored."""

    title: str
    hash: str


@dataclass(frozen=True)
class Score:
    """All numbers of one model."""

    format: int
    finst: str
    model: str
    revision: str | None
    weights: str
    """The sha256 over the weight files."""
    dtype: str | None
    device: str | None
    plan: PlanRecord
    steps: tuple[ScoredStep, ...]
    keys: Mapping[str, Number]

    @property
    def complete(self) -> bool:
        """Whether every step that a score needs, of those that the plan has, is finished."""
        return all(step.status in ("finished", NOT_PLANNED) for step in self.steps)


def steps_to_run(plan: Plan) -> tuple[str, ...]:
    """The names of a plan's steps that a score needs: the first of each experiment.

    Raises FinstError for a plan without any.
    """
    names = tuple(step.name for step in _first_steps(plan.steps).values())
    if not names:
        raise FinstError(f"the plan has no step that a score needs: expected one or more of {listed(SCORED)}")
    return names


def _first_steps(steps: Iterable[StepT]) -> dict[str, StepT]:
    """The first step of each scored experiment, in the order of ``SCORED``."""
    first = {step.experiment: step for step in reversed([*steps])}
    return {name: first[name] for name in SCORED if name in first}


def score_of(folder: Path) -> Score:
    """The score of the reproduction in ``folder``, of the first step of each experiment; nothing is measured.

    Keys of a step that is not finished have no value and say why. Raises FinstError for a folder without a
    reproduction, and for a damaged record or run.
    """
    record = known_record(folder)
    planned = _first_steps(record.steps)
    runs = {experiment: load(folder / step.name) for experiment, step in planned.items() if step.status == "finished"}
    steps = {name: _scored_step(name, planned.get(name), runs.get(name)) for name in SCORED}
    read = {name: _readings(run) for name, run in runs.items()}
    models = [run.manifest.model for run in runs.values()]
    return Score(
        format=FORMAT,
        finst=version("finst"),
        model=record.model,
        revision=_distinct(model.revision for model in models),
        weights=record.weights,
        dtype=_distinct(model.dtype for model in models),
        device=_distinct(model.device for model in models),
        plan=_plan_record(record, steps.values()),
        steps=tuple(steps.values()),
        keys={
            name: _number(family, read.get(family.experiment, {}).get(name), steps[family.experiment])
            for name, family in KEYS.items()
        },
    )


def write_score(folder: Path, score: Score) -> Path:
    """Writes ``FILE`` into ``folder``, replaced atomically if it exists; returns its path."""
    text = json.dumps(to_json(score), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / FILE, f"{text}\n".encode())
    return folder / FILE


def _readings(run: Run) -> Mapping[str, Reading | str]:
    """The readings of a run; one reason for every key where its summary has other intervals or lacks numbers."""
    reason = wrong_level(run)
    if not reason:
        try:
            return readings(run)
        except KeyError as missing:
            reason = f"summarised by an older finst, without {missing}"
    return {name: reason for name, family in KEYS.items() if family.experiment == run.experiment.name}


def _scored_step(experiment: str, step: StepRecord | None, run: Run | None) -> ScoredStep:
    if step is None:
        return ScoredStep(experiment, "", NOT_PLANNED, f"the plan has no step of {experiment}", None, None)
    if run is None:
        reason = step.reason or {"waiting": "not run yet", "running": "interrupted"}.get(step.status, step.status)
        return ScoredStep(experiment, step.name, step.status, reason, None, None)
    return ScoredStep(experiment, step.name, step.status, "", settings_hash(run), run.manifest.sessions[-1].finst)


def settings_hash(run: Run) -> str:
    """A hash of a run's settings without those of the model and those that only change how the work was done."""
    left_out = (*MODEL_FIELDS, *PRACTICAL, "cma")
    settings = {name: value for name, value in run.manifest.spec.items() if name not in left_out}
    return _hash([run.experiment.name, settings])


def _plan_record(record: Reproduction, steps: Iterable[ScoredStep]) -> PlanRecord:
    return PlanRecord(record.title, _hash([[step.experiment, step.settings] for step in steps]))


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _distinct(values: Iterable[str | None]) -> str | None:
    """The one value of all runs, or all of them with commas between."""
    return ", ".join(dict.fromkeys(value for value in values if value is not None)) or None


def _number(family: KeyFamily, reading: Reading | str | None, step: ScoredStep) -> Number:
    if not isinstance(reading, Reading):
        reason = step.reason or reading or f"the settings of {step.step} do not include it"
        return Number(None, None, None, None, family.samples, family.unit, family.against, None, None, "", reason)
    value, low, high, p = (
        float(number) if math.isfinite(number) else None
        for number in (reading.value, reading.low, reading.high, reading.p)
    )
    reason = "" if value is not None else "its data do not determine it"
    return Number(
        value, low, high, reading.n, family.samples, family.unit, family.against, p, reading.verdict, reading.detail,
        reason,
    )  # fmt: skip
