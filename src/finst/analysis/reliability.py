"""Would other samples give the same map: split-half reliability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from finst.analysis.statistics import Scores, tails
from finst.errors import FinstError

HALVES = 1_000


@dataclass(frozen=True)
class SplitHalf:
    """Pearson correlation, over entries, of the mean maps of two random halves of the samples."""

    r: float
    """Mean over random halves."""
    reliability: float
    """Of the mean map of all samples: Spearman and Brown's 2 r / (1 + r), mean over random halves."""
    low: float
    high: float
    """Between these lie the middle ``confidence`` of the reliabilities over random halves."""


def split_half(scores: Scores, *, halves: int = HALVES, confidence: float = 0.95, seed: int = 0) -> SplitHalf:
    """Split-half reliability of the mean map over samples. With an odd number one sample sits out at each split.

    NaN for fewer than four samples, and where a half's map is the same everywhere.
    """
    data = np.asarray(scores, dtype=np.float64).reshape(len(scores), -1)
    if not np.isfinite(data).all():
        raise FinstError("scores must be finite for a split-half reliability")
    if len(data) < 4 or data.shape[1] < 2:
        nan = float("nan")
        return SplitHalf(nan, nan, nan, nan)
    size = len(data) // 2
    rng = np.random.default_rng(seed)
    found = np.array([_halves(data, rng.permutation(len(data)), size) for _ in range(halves)])
    corrected = 2 * found / (1 + found)
    low, high = np.quantile(corrected, tails(confidence))
    return SplitHalf(float(found.mean()), float(corrected.mean()), float(low), float(high))


def _halves(data: Float[np.ndarray, "sample entry"], order: np.ndarray, size: int) -> float:
    first, second = data[order[:size]].mean(axis=0), data[order[size : 2 * size]].mean(axis=0)
    return float(np.corrcoef(first, second)[0, 1])
