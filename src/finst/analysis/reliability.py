"""Whether other samples would give the same map: split-half reliability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from finst.analysis.determined import finite, precision, vanishes
from finst.analysis.statistics import Scores, tails

HALVES = 1_000


@dataclass(frozen=True)
class SplitHalf:
    """Pearson correlation, over entries, of the mean maps of two random halves of the samples."""

    r: float
    """Mean over random halves."""
    reliability: float
    """Reliability of the mean map of all samples: ``r`` by Spearman and Brown's formula, 2 r / (1 + |r|)."""
    low: float
    high: float
    """The same formula at the ends of the interval that holds the middle ``confidence`` of the random halves' r."""


def split_half(scores: Scores, *, halves: int = HALVES, confidence: float = 0.95, seed: int = 0) -> SplitHalf:
    """Split-half reliability of the mean map over samples; with an odd number each split leaves one sample out.

    The order of samples does not matter. NaN for fewer than four samples, and where a half's map is constant. Raises
    FinstError for scores that are not finite.
    """
    if len(scores) < 4 or scores[0].size < 2:
        nan = float("nan")
        return SplitHalf(nan, nan, nan, nan)
    data = finite(scores).reshape(len(scores), -1)
    data = data[np.lexsort(data.T)]
    rng = np.random.default_rng(seed)
    places = np.argsort(rng.random((halves, len(data))), axis=1)
    size = len(data) // 2
    first, second = (
        _standard((places < end) & (places >= end - size), data, precision(scores)) for end in (size, 2 * size)
    )
    r = (first * second).sum(axis=1)
    mean, (low, high) = float(r.mean()), np.quantile(r, tails(confidence))
    return SplitHalf(mean, _corrected(mean), _corrected(float(low)), _corrected(float(high)))


def _standard(
    chosen: Bool[np.ndarray, "half sample"], data: Float[np.ndarray, "sample entry"], eps: float
) -> Float[np.ndarray, "half entry"]:
    """Summed maps minus their mean, with norm one; NaN for maps that are constant up to the scores' rounding."""
    maps = chosen.astype(np.float64) @ data
    size = np.linalg.norm(chosen.astype(np.float64) @ abs(data), axis=1, keepdims=True)
    maps -= maps.mean(axis=1, keepdims=True)
    length = np.linalg.norm(maps, axis=1, keepdims=True)
    return np.divide(maps, length, out=np.full_like(maps, np.nan), where=~vanishes(length, size, eps))


def _corrected(r: float) -> float:
    return 2 * r / (1 + abs(r))
