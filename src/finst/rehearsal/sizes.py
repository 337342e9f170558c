"""Smaller settings that leave the work of a trial as it is, and how much a run of some settings takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from finst.experiments.interventions.reuse.design import GRID
from finst.experiments.registry import experiment_of
from finst.experiments.units import square
from finst.runs.experiment import Unit

SMALLEST: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "cma": {"pairs": 4},
        "accuracy": {"trials": 2},
        "pca": {"trials": 2},
        "rsa-stages": {"trials": 1},
        "rsa-frame": {"trials": 1},
        "rsa-entropy": {"trials": 1},
        "photoreal": {"trials": 8, "estimation": 8},
        "key-swap": {"trials": 8, "estimation": 8},
        "reuse": {"trials": 2, "estimation": 1},
        "frame-patch": {"trials": 2},
        "rescue": {"trials": 1, "estimation": 1},
        "coco": {"pictures": 8},
        "counting": {"trials": 6},
        "transfer": {"trials": 8, "estimation": 16},
    }
)
"""The fields of each experiment that say how many samples it has, and the least that a rehearsal takes."""


def resized(name: str, spec: Any, times: int = 1, *, only: tuple[str, ...] = ()) -> Any:
    """The settings of the experiment ``name`` at so many times the smallest size, never above their own.

    ``only`` names the fields that are changed; all of ``SMALLEST`` by default. Numbers by grid keep their proportions.
    """
    changed = {
        field: _resized(getattr(spec, field), times * least)
        for field, least in SMALLEST[name].items()
        if not only or field in only
    }
    return replace(spec, **changed)


def _resized(value: Any, least: int) -> Any:
    if isinstance(value, tuple):
        return tuple(min(each, round(least * each / min(value))) for each in value)
    return min(value, least)


def small(name: str, spec: Any) -> Any:
    """The settings of a rehearsal: the smallest size, in some four units, with pairs of any answer.

    Random weights answer nothing right, so causal mediation takes all pairs.
    """
    spec = resized(name, spec)
    if name == "cma":
        return replace(spec, only_correct=False, pairs_per_unit=1)
    if hasattr(spec, "trials_per_unit"):
        return replace(spec, trials_per_unit=min(spec.trials_per_unit, -(-count(name, spec) // PARTS)))
    return spec


PARTS = 4
"""Units of a rehearsal: their spread is the uncertainty of the time of a trial."""


def in_units_of(spec: Any, whole: Any) -> Any:
    """The settings ``spec`` in units as large as those of ``whole``."""
    names = [name for name in ("pairs_per_unit", "trials_per_unit") if hasattr(spec, name)]
    return replace(spec, **{name: getattr(whole, name) for name in names})


def count(name: str, spec: Any) -> int:
    """The number of trials (pairs of causal mediation), without making them."""
    return sum(len(unit.trials) for unit in units_of(name, spec))


def estimated_from(name: str, spec: Any) -> int:
    """The number of pictures that ``prepare`` works on; 0 where it does not work on pictures."""
    if name == "coco":
        return count(name, spec)
    if name == "rescue":
        return sum(len(square(grid).cells) ** 2 * each for grid, each in zip(spec.grids, spec.estimation, strict=True))
    pictures = getattr(spec, "estimation", 0)
    return pictures * {"reuse": len(GRID.cells) ** 2, "transfer": len(getattr(spec, "tasks", ()))}.get(name, 1)


def units_of(name: str, spec: Any) -> tuple[Unit, ...]:
    """The units of a run with these settings."""
    return experiment_of(name).plan(spec)
