"""A plan: which experiments run, in order, with which settings. A TOML file that can be edited, versioned and rerun.

Imports nothing heavy, so that a wrong plan is refused at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from finst.errors import FinstError, choice
from finst.experiments.interventions.spec import InterventionSpec
from finst.experiments.registry import REGISTRY, located
from finst.runs.spec import from_json
from finst.vlm.spec import ModelSpec

SHIPPED = ("fast", "full")
"""Plans that come with finst: minutes on two cores, and the paper's numbers of trials."""

MODEL_FIELDS = tuple(each.name for each in fields(ModelSpec))


@dataclass(frozen=True)
class Step:
    """One experiment of a plan."""

    name: str
    """Name of its folder, unique in the plan."""
    experiment: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its spec, without those of the model."""
    heads: str | None = None
    """The earlier step of causal mediation whose heads it edits; None for experiments that edit no heads."""

    def spec(self, model: ModelSpec) -> Any:
        """Its settings for this model. Raises FinstError naming a field that is unknown or has a wrong value."""
        named = {name: getattr(model, name) for name in MODEL_FIELDS}
        try:
            spec = from_json(_spec_class(self.experiment), {**named, **self.settings})
            spec.check()
            return spec
        except FinstError as refusal:
            raise FinstError(f"step {self.name!r}: {refusal}") from refusal


@dataclass(frozen=True)
class Plan:
    """Experiments in the order in which they run."""

    title: str
    steps: tuple[Step, ...]
    source: str = ""
    """The TOML text."""

    def with_heads(self, names: Sequence[str]) -> tuple[Step, ...]:
        """The steps of these names and those whose heads they edit. Raises FinstError for an unknown name."""
        known = {step.name: step for step in self.steps}
        for name in names:
            if name not in known:
                raise choice("step", name, known)
        needed = {*names, *(known[name].heads for name in names)}
        return tuple(step for step in self.steps if step.name in needed)


def shipped_plan(name: str) -> Plan:
    """The plan of this name, one of ``SHIPPED``."""
    return parse_plan((resources.files("finst.plans") / f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml")


def read_plan(path: Path) -> Plan:
    """The plan in the file ``path``. Raises FinstError when it cannot be read or is no plan."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as cause:
        raise FinstError(f"cannot read the plan {path}: {cause}") from cause
    return parse_plan(text, str(path))


def parse_plan(text: str, where: str) -> Plan:
    """The plan in a TOML text; ``where`` names it in messages.

    Top-level keys are ``title``, ``settings`` (fields for every experiment that has them) and ``step``, a list of
    tables with ``experiment``, optionally ``name`` and ``heads``, and any fields of the experiment's spec. A step that
    edits heads takes those of the step ``heads``, or else of the last step of causal mediation before it.

    Raises FinstError naming the step and field for anything else, and for a wrong type of a setting.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise FinstError(f"{where} is no TOML ({cause}): expected a plan such as finst reproduce writes") from cause
    try:
        return replace(_plan(data), source=text)
    except FinstError as refusal:
        raise FinstError(f"{where}: {refusal}") from refusal


def _plan(data: Mapping[str, Any]) -> Plan:
    _only_keys(data, ("title", "settings", "step"), "a plan")
    title, shared, tables = data.get("title", ""), data.get("settings", {}), data.get("step", [])
    if not isinstance(title, str) or not isinstance(shared, dict):
        raise FinstError("expected a text as title, and settings as a table")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise FinstError("a plan has no steps: expected one or more tables [[step]]")
    steps: list[Step] = []
    for table in tables:
        steps.append(_step(table, shared, steps))
    unused = [name for name in shared if not any(name in step.settings for step in steps)]
    if unused:
        raise FinstError(f"no step has the setting {unused[0]!r}: expected fields of the planned experiments")
    return Plan(title, tuple(steps))


def _step(table: Mapping[str, Any], shared: Mapping[str, Any], before: Sequence[Step]) -> Step:
    experiment = table.get("experiment")
    if experiment not in list(REGISTRY):
        raise choice("experiment of a step", experiment, REGISTRY)
    name = table.get("name", experiment)
    if not isinstance(name, str) or not name or name in _RESERVED or not set(name) <= _NAME:
        raise FinstError(f"{name!r} cannot be a step's name: expected small letters, digits, '-' and '_'")
    if name in (step.name for step in before):
        raise FinstError(f"two steps are called {name!r}: expected different names")
    kind = _spec_class(experiment)
    own = {key: value for key, value in table.items() if key not in ("experiment", "name", "heads")}
    for key in (*own, *shared):
        if key in (*MODEL_FIELDS, "cma"):
            raise FinstError(
                f"{key!r} cannot be set in a plan: expected the model's name, revision, format and device as options "
                "of the command, and heads = STEP for an experiment that edits heads"
            )
    known = {each.name for each in fields(kind)}
    step = Step(name, experiment, {**{k: v for k, v in shared.items() if k in known}, **own})
    step.spec(ModelSpec())
    return replace(step, heads=_heads(table.get("heads"), kind, before))


def _heads(named: object, kind: type, before: Sequence[Step]) -> str | None:
    """The step whose heads are edited."""
    candidates = [step.name for step in before if step.experiment == "cma"]
    if not issubclass(kind, InterventionSpec):
        if named is not None:
            raise FinstError(f"heads is {named!r}, but this experiment edits no heads: leave it out")
        return None
    if not candidates:
        raise FinstError("an experiment that edits heads stands before any step of causal mediation ('cma')")
    if named is not None and named not in candidates:
        raise choice("step of causal mediation", named, candidates)
    return candidates[-1] if named is None else str(named)


_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_RESERVED = ("earlier", "figures")


def _spec_class(experiment: str) -> Any:
    return located(REGISTRY[experiment].spec_place)


def _only_keys(data: Iterable[str], valid: Sequence[str], what: str) -> None:
    unknown = [key for key in data if key not in valid]
    if unknown:
        raise choice(f"key of {what}", unknown[0], valid)
