"""Which factor does what: contrasts of the factorial's cells, with intervals over seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import stats

from studies.origins.plan import LAYERS, LEAVE_ONE_OUT, PLACES
from studies.origins.rows import Row
from studies.origins.tables import markdown

COMPARED: Mapping[str, str] = {
    "retrieval, logits": "prefill id_retrieval logits",
    "selection, logits": "prefill id_selection logits",
    "features, logits": "prefill feature_retrieval logits",
    "retrieval steered": "steering id_retrieval after",
    "low entropy, 5-9": "description, 5-9 objects, low entropy",
}
"""Outcomes that factors are compared by, and their columns."""

Cell = tuple[str, str, int]
"""Leave-one-out, places, layers."""


@dataclass(frozen=True)
class Estimate:
    """A difference of means with its 95 % interval by Student's t; no interval where every cell has one training."""

    value: float
    low: float
    high: float
    n: int
    """Trainings behind it."""

    @property
    def text(self) -> str:
        """``7.52 [6.10, 8.94]``."""
        ends = "" if np.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{ends}"


def cells_of(rows: Sequence[Row], outcome: str) -> dict[Cell, list[float]]:
    """The outcome's known values by cell; of the trainings that belong to the factorial."""
    groups = {f"{a}-{b}-{c}": (a, b, c) for a, b, c in product(LEAVE_ONE_OUT, PLACES, LAYERS)}
    cells: dict[Cell, list[float]] = defaultdict(list)
    for row in rows:
        if row["group"] in groups and row.get(outcome) is not None:
            cells[groups[row["group"]]].append(float(row[outcome]))
    return dict(cells)


def _places(yes: str, no: str) -> Callable[[Cell], float]:
    return lambda cell: float(cell[1] == yes) - float(cell[1] == no)


def _never(cell: Cell) -> float:
    return 1.0 if cell[0] == "never" else -1.0


def _shallow(cell: Cell) -> float:
    return 1.0 if cell[2] == LAYERS[0] else -1.0


def _mixed(cell: Cell) -> float:
    return 1.0 if cell[1] == "mixed" else -0.5


CONTRASTS: Mapping[str, Callable[[Cell], float]] = {
    "never leave-one-out - some": _never,
    "places mixed - apart": _places("mixed", "apart"),
    "places mixed - none": _places("mixed", "none"),
    "places apart - none": _places("apart", "none"),
    "6 - 10 layers": _shallow,
    "leave-one-out x places (mixed or not)": lambda cell: _never(cell) * _mixed(cell),
    "leave-one-out x layers": lambda cell: _never(cell) * _shallow(cell),
    "places (mixed or not) x layers": lambda cell: _mixed(cell) * _shallow(cell),
    "all three": lambda cell: _never(cell) * _mixed(cell) * _shallow(cell),
}
"""Weights of cells; each is scaled so that it is a difference of two means of cells."""


def contrast(cells: Mapping[Cell, Sequence[float]], weight: Callable[[Cell], float]) -> Estimate | None:
    """The difference between the means of the cells of positive and of negative weight.

    Its error is pooled over cells, so it takes two seeds of some cell; None where a cell with a weight is missing.
    Outcomes are far from normal where a mechanism is there or not, so look at the seeds as well.
    """
    wanted = {cell: weight(cell) for cell in product(LEAVE_ONE_OUT, PLACES, LAYERS) if weight(cell)}
    if any(not cells.get(cell) for cell in wanted):
        return None
    scale = sum(value for value in wanted.values() if value > 0)
    value = sum(share * float(np.mean(cells[cell])) for cell, share in wanted.items()) / scale
    n = sum(len(cells[cell]) for cell in wanted)
    freedom = sum(len(cells[cell]) - 1 for cell in wanted)
    if not freedom:
        return Estimate(value, float("nan"), float("nan"), n)
    pooled = sum(float(np.var(cells[cell])) * len(cells[cell]) for cell in wanted) / freedom
    error = (pooled * sum((share / scale) ** 2 / len(cells[cell]) for cell, share in wanted.items())) ** 0.5
    reach = float(stats.t.ppf(0.975, freedom)) * error
    return Estimate(value, value - reach, value + reach, n)


def comparison(rows: Sequence[Row]) -> str:
    """A row a contrast of the factorial, a column an outcome; Markdown. Empty while cells are missing everywhere."""
    body: list[list[str]] = []
    for name, weight in CONTRASTS.items():
        estimates = [contrast(cells_of(rows, column), weight) for column in COMPARED.values()]
        if any(estimates):
            body.append([name, *(estimate.text if estimate else "-" for estimate in estimates)])
    return markdown(["contrast", *COMPARED], body) if body else ""
