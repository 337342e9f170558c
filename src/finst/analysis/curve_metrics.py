"""Numbers that describe a curve over layers or a map of heads, to compare choices of an analysis."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from finst.analysis.determined import constant, scaled
from finst.analysis.headsets import Map, top_k

Curve = Float[np.ndarray, "layer"]


def early(curve: Curve) -> float:
    """The mean over the first third of the layers, rounded up; NaN without layers."""
    return float(np.mean(curve[: -(-len(curve) // 3)])) if len(curve) else float("nan")


def valley(curve: Curve) -> float:
    """How far the curve falls between two higher layers: the depth of its deepest valley, 0 for a single hill.

    NaN without layers, and where any layer is NaN.
    """
    if not len(curve):
        return float("nan")
    before, after = np.maximum.accumulate(curve), np.maximum.accumulate(curve[::-1])[::-1]
    return float((np.minimum(before, after) - curve).max(initial=0.0))


def distinct(scores: Map) -> int:
    """Different values in a map, compared exactly."""
    return len(np.unique(scores))


def exact_ties(scores: Map, k: int) -> tuple[int, int]:
    """Heads whose score equals the k-th largest exactly (itself included), and how many of these are in the top."""
    top = top_k(scores, k)
    return top.tied, top.tied_inside


def step(scores: Map) -> float:
    """The smallest difference between two different values of a map, compared exactly; NaN where all are the same."""
    steps = np.diff(np.unique(scores))
    return float(steps.min()) if len(steps) else float("nan")


def likeness(first: Map, second: Map) -> float:
    """Pearson correlation of two maps over their heads; NaN where one is the same everywhere, up to rounding."""
    if any(constant(scores.ravel()) or not np.isfinite(scores).all() for scores in (first, second)):
        return float("nan")
    both = np.stack([scaled(scores.ravel().astype(np.float64))[0] for scores in (first, second)])
    return float(np.corrcoef(both)[0, 1])


def mass_by_layer(scores: Map) -> Curve:
    """The share of a map's positive scores that lies in each layer; NaN where no score is positive."""
    mass = np.maximum(scores, 0.0).sum(axis=1)
    return np.divide(mass, mass.sum(), out=np.full(len(mass), np.nan), where=mass.sum() > 0)


def mean_layer(scores: Map) -> float:
    """The mean layer, counted from 0, weighted by ``mass_by_layer``."""
    return float(mass_by_layer(scores) @ np.arange(len(scores)))
