"""``finst interventions``: effects of finished interventions, of any experiments and models, in one table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from finst.cli.options import Effects, RunInterventions
from finst.errors import FinstError, choice
from finst.experiments.interventions.effect_table import (
    EffectRecord,
    csv_table,
    effects_figure,
    effects_page,
    markdown_table,
    text_table,
)
from finst.experiments.interventions.protocol import Intervention
from finst.experiments.interventions.spec import InterventionSpec
from finst.experiments.registry import REGISTRY
from finst.runs.archive import write_atomically
from finst.runs.factors import with_factors
from finst.runs.finished import FinishedRun, distinct_runs, labels_of
from finst.vlm.open import Reader


def interventions() -> dict[str, Intervention[Any]]:
    """All registered interventions by name."""
    experiments = {name: entry.load() for name, entry in REGISTRY.items()}
    return {name: each for name, each in experiments.items() if isinstance(each, Intervention)}


def write(spec: Effects) -> str:
    """Writes the page, and the table as CSV and JSON if files are given; returns the text for the terminal.

    Raises FinstError for folders without a finished intervention and for folders given twice.
    """
    if not spec.runs:
        raise FinstError("no run given: expected folders of finished interventions")
    runs = distinct_runs(spec.runs)
    rows = rows_of(runs)
    records = [run.record for run in runs]
    write_atomically(spec.out, effects_page(rows, effects_figure(rows), labels_of(runs), records).encode())
    if spec.csv is not None:
        write_atomically(spec.csv, csv_table(rows).encode())
    if spec.json is not None:
        write_atomically(spec.json, f"{json.dumps([row.record for row in rows], indent=2)}\n".encode())
    return markdown_table(rows) if spec.markdown else f"{text_table(rows)}\n\npage: {spec.out}"


@dataclass(frozen=True)
class Planned:
    """The interventions that can be run."""

    specs: Mapping[str, InterventionSpec]
    """Settings by name."""
    refused: Mapping[str, str]
    """Why others cannot be run."""
    applied: tuple[str, ...]
    """For each given option, the interventions that it applies to, and those that lack it."""


def planned(options: RunInterventions, reader: Reader) -> Planned:
    """The settings of every intervention, and why some cannot be run with this model.

    Settings that are left at their default keep the default of each. Raises FinstError for an option that no
    intervention has, when none can be run, and when none of those that an option is for can be run.
    """
    every = interventions()
    default = InterventionSpec()
    shared = {field.name: getattr(options.spec, field.name) for field in fields(InterventionSpec)}
    changed: dict[str, Any] = {name: value for name, value in shared.items() if value != getattr(default, name)}
    settings: dict[str, InterventionSpec] = {name: each.spec(**changed) for name, each in every.items()}
    takers: dict[str, list[str]] = {}
    for factor in (*_sizes(options), *options.factor):
        taken = _taking(settings, factor)
        settings |= taken
        takers[factor] = list(taken)
    specs, refused = {}, {}
    for name, experiment in every.items():
        try:
            experiment.check(settings[name], reader)
        except FinstError as refusal:
            refused[name] = str(refusal)
        else:
            specs[name] = settings[name]
    if not specs:
        raise FinstError(f"no intervention can be run: {_reasons(refused, refused)}")
    for factor, names in takers.items():
        if specs.keys().isdisjoint(names):
            raise FinstError(f"no intervention that takes {factor} can be run: {_reasons(refused, names)}")
    return Planned(specs, refused, tuple(_applied(factor, names, every) for factor, names in takers.items()))


def _reasons(refused: Mapping[str, str], names: Iterable[str]) -> str:
    return "; ".join(f"{name}: {refused[name]}" for name in names)


def _applied(factor: str, names: Sequence[str], every: Iterable[str]) -> str:
    others = ", ".join(name for name in every if name not in names)
    return f"{factor}: {', '.join(names)}" + (f"; not {others}" if others else "")


def _sizes(options: RunInterventions) -> list[str]:
    """The options of sizes that are given, as factors."""
    numbers = {"trials": options.trials, "estimation": options.estimation}
    lists = {"ks": options.ks, "doses": options.doses}
    given = {name: value for name, value in numbers.items() if value is not None}
    return [
        *(f"{name}={value}" for name, value in given.items()),
        *(f"{name}={json.dumps(value)}" for name, value in lists.items() if value),
    ]


def _taking(settings: Mapping[str, InterventionSpec], factor: str) -> dict[str, InterventionSpec]:
    """The settings, with the factor, of the interventions that take it: all that can, or the one that it names."""
    owner, dot, _ = factor.partition("=")[0].rpartition(".")
    if dot:
        if owner not in settings:
            raise choice("intervention", owner, settings)
        return {owner: with_factors(settings[owner], [factor.removeprefix(f"{owner}.")])}
    taken, refusals = {}, {}
    for name, spec in settings.items():
        try:
            taken[name] = with_factors(spec, [factor])
        except FinstError as refusal:
            refusals[name] = str(refusal)
    if not taken:
        listed = "; ".join(f"{name}: {why}" for name, why in refusals.items())
        raise FinstError(f"no intervention takes {factor}: expected an option of one of them ({listed})")
    return taken


def rows_of(runs: Sequence[FinishedRun]) -> tuple[EffectRecord, ...]:
    """The effects of all runs, in order.

    Raises FinstError for a run of an experiment that is no intervention, and for a summary by an older finst that lacks
    numbers.
    """
    by_name = interventions()
    rows: list[EffectRecord] = []
    for run in runs:
        name = run.manifest.experiment
        if name not in by_name:
            raise FinstError(
                f"{run.folder} holds a run of {name!r}, which has no effects to put into the table: expected one of "
                f"{', '.join(by_name)}"
            )
        try:
            effects = by_name[name].report.effects(run.summary)
        except KeyError as missing:
            raise FinstError(
                f"{run.folder} was summarised by an older finst and lacks {missing}: repeat the command that "
                "made it, which keeps the measured units and writes a new summary"
            ) from missing
        model = Path(str(run.manifest.spec["model"])).name
        rows += [EffectRecord(model, name, effect, str(run.folder)) for effect in effects]
    return tuple(rows)
