"""Settings in which finished steps differ from the full plan, which has the paper's numbers where it states them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from finst.plans.plan import MODEL_FIELDS, Plan, Step
from finst.plans.record import Reproduction

UNCOMPARED = (*MODEL_FIELDS, "cma", "seed")
"""Which model, whose heads and which draw: they change no size and no design."""


@dataclass(frozen=True)
class Departure:
    """One setting of one step, as texts."""

    step: str
    setting: str
    here: str
    full: str


def departures(record: Reproduction, specs: Mapping[str, Any], full: Plan) -> list[Departure]:
    """What differs in the steps whose ``specs`` are known by name, in the order of the record.

    A step is compared with the full plan's step of its name, or else with the first one of its experiment.
    """
    found: list[Departure] = []
    for step in record.steps:
        counterpart = _counterpart(step.name, step.experiment, full)
        if step.name in specs and counterpart is not None:
            found += _differences(step.name, specs[step.name], counterpart)
    return found


def _counterpart(name: str, experiment: str, full: Plan) -> Step | None:
    alike = [step for step in full.steps if step.experiment == experiment]
    return next((step for step in alike if step.name == name), next(iter(alike), None))


def _differences(name: str, spec: Any, counterpart: Step) -> list[Departure]:
    expected = counterpart.spec(type(spec)())
    compared = [each.name for each in fields(spec) if each.name not in UNCOMPARED]
    pairs = [(setting, getattr(spec, setting), getattr(expected, setting)) for setting in compared]
    return [Departure(name, setting, _text(here), _text(full)) for setting, here, full in pairs if here != full]


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
