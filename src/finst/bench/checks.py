"""What it costs to check that all numbers are finite: the share of a map of causal mediation. ``python -m`` runs it.

The time inside the checks is divided by that of the whole measurement, unit by unit of one run, so that a busy machine
slows both. A second number compares whole units with and without the checks, in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from finst.engine import counterfactuals, record
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.vlm.open import VLM, open_vlm

CHECKS = ((record, "total"), (record, "all_finite"), (counterfactuals, "total"), (counterfactuals, "all_finite"))
"""Modules and the names by which they call the checks."""


@dataclass(frozen=True)
class CheckCost:
    """Shares of a map's time, as quartiles over units: 25, 50 and 75 %."""

    share: tuple[float, float, float]
    """Time in the checks by that of the unit."""
    ratio: tuple[float, float, float]
    """Time of a unit with the checks by that of the same unit without."""
    units: int


def check_cost(vlm: VLM, units: int = 20, pairs_per_unit: int = 4) -> CheckCost:
    """Measures ``units`` units of causal mediation, each once with and once without the checks."""
    spec = CMASpec(pairs=units * pairs_per_unit, pairs_per_unit=pairs_per_unit, device=str(vlm.device))
    experiment, shares, ratios = CMA(), [], []
    plan = experiment.plan(spec)
    experiment.measure(vlm, spec, plan[0])
    for number, unit in enumerate(plan):
        times = {}
        for checked in (True, False) if number % 2 else (False, True):
            with _timed() if checked else _left_out() as spent:
                started = time.perf_counter()
                experiment.measure(vlm, spec, unit)
                times[checked] = time.perf_counter() - started
            if checked:
                shares.append(sum(spent) / times[True])
        ratios.append(times[True] / times[False])
    quartiles = [tuple(np.quantile(values, (0.25, 0.5, 0.75)).tolist()) for values in (shares, ratios)]
    return CheckCost(quartiles[0], quartiles[1], units)  # pyright: ignore[reportArgumentType]


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Inside, the seconds of every check are collected."""
    spent: list[float] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                spent.append(time.perf_counter() - started)

        return call

    with _replaced({(module, name): timed(getattr(module, name)) for module, name in CHECKS}):
        yield spent


@contextmanager
def _left_out() -> Iterator[list[float]]:
    """Inside, nothing is checked."""
    instead = {"total": lambda *_: torch.zeros(()), "all_finite": lambda *_: True}
    with _replaced({(module, name): instead[name] for module, name in CHECKS}):
        yield []


@contextmanager
def _replaced(functions: dict[tuple[Any, str], Callable[..., Any]]) -> Iterator[None]:
    patches = [patch.object(module, name, function) for (module, name), function in functions.items()]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


if __name__ == "__main__":
    print(check_cost(open_vlm("organism", device="cpu")))
