"""Statistics in exact arithmetic, the reference for degenerate data: fractions, and NaN where a denominator is zero."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, product
from math import sqrt
from typing import Any

import numpy as np

NAN = float("nan")

Numbers = Sequence[Fraction]


def fractions(values: np.ndarray) -> Any:
    """Floats as the fractions that they are, in nested lists."""
    return [fractions(part) for part in values] if values.ndim else Fraction(float(values))


def ratio(over: Fraction, under: Fraction) -> float:
    return float(over / under) if under else NAN


def root_ratio(over: Fraction, under: Fraction) -> float:
    """over / sqrt(under)."""
    return (1 if over > 0 else -1) * sqrt(over**2 / under) if under else NAN


def mean(values: Numbers) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def product_sum(x: Numbers, y: Numbers) -> Fraction:
    """Sum of products of deviations from the means."""
    left, right = mean(x), mean(y)
    return sum(((a - left) * (b - right) for a, b in zip(x, y, strict=True)), Fraction(0))


def pearson(x: Numbers, y: Numbers) -> float:
    return root_ratio(product_sum(x, y), product_sum(x, x) * product_sum(y, y)) if x else NAN


def ranks(values: Numbers) -> list[Fraction]:
    return [Fraction(sum(b < a for b in values) * 2 + sum(b == a for b in values) + 1, 2) for a in values]


def spearman(x: Numbers, y: Numbers) -> float:
    return pearson(ranks(x), ranks(y))


def partial(x: Numbers, y: Numbers, given: Numbers) -> float:
    """Pearson's correlation of what a regression on ``given`` leaves of x and y."""
    if not given or not (under := product_sum(given, given)):
        return NAN

    def left(values: Numbers) -> list[Fraction]:
        slope = product_sum(values, given) / under
        return [a - slope * b for a, b in zip(values, given, strict=True)]

    return pearson(left(x), left(y))


def eta_squared(values: Numbers, labels: Sequence[int]) -> float:
    if len(set(labels)) < 2:
        return NAN
    whole = mean(values)
    between = Fraction(0)
    for label in set(labels):
        group = [value for value, other in zip(values, labels, strict=True) if other == label]
        between += len(group) * (mean(group) - whole) ** 2
    return ratio(between, product_sum(values, values))


def sign_flip_p(values: Numbers) -> float:
    """Two-sided, over all patterns."""
    if len(values) < 2:
        return NAN
    seen = abs(sum(values))
    patterns = list(product((1, -1), repeat=len(values)))
    reached = sum(abs(sum(s * v for s, v in zip(signs, values, strict=True))) >= seen for signs in patterns)
    return reached / len(patterns)


def standard_error(values: Numbers) -> float:
    return sqrt(product_sum(values, values) / ((len(values) - 1) * len(values))) if len(values) > 1 else NAN


def cosines(vectors: np.ndarray) -> list[Fraction] | None:
    """Squared cosines with their signs, of all pairs; None where a vector is zero. Only order and equality count."""
    rows = fractions(vectors)
    squares = [sum(a * a for a in row) for row in rows]
    if not all(squares):
        return None
    result = []
    for i, j in combinations(range(len(rows)), 2):
        dot = sum((a * b for a, b in zip(rows[i], rows[j], strict=True)), Fraction(0))
        result.append((1 if dot >= 0 else -1) * dot**2 / (squares[i] * squares[j]))
    return result


def silhouette(line: Numbers, labels: Sequence[int]) -> float:
    """Of points on a line, whose distances are exact."""
    if len(set(labels)) < 2 or len(set(line)) < 2:
        return NAN
    values = []
    for i, (point, own) in enumerate(zip(line, labels, strict=True)):
        distance = {
            label: [abs(point - other) for j, other in enumerate(line) if labels[j] == label and j != i]
            for label in set(labels)
        }
        if not distance[own]:
            values.append(Fraction(0))
            continue
        inner = mean(distance[own])
        nearest = min(mean(distances) for label, distances in distance.items() if label != own)
        larger = max(inner, nearest)
        values.append((nearest - inner) / larger if larger else Fraction(0))
    return float(mean(values))
