"""The ratio of two means over the same samples, with a bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from finst.analysis import statistics
from finst.analysis.determined import precision, vanishes
from finst.analysis.statistics import RESAMPLES


@dataclass(frozen=True)
class Ratio:
    """A ratio of means with the ends of its interval; NaN for what the samples do not determine."""

    value: float
    low: float
    high: float


def ratio_of_means(
    part: Float[np.ndarray, "sample"],
    whole: Float[np.ndarray, "sample"],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Ratio:
    """mean(part) / mean(whole), both in one unit; resamples draw the pairs of a part and its whole together.

    All NaN where the mean of ``whole`` is not positive beyond rounding; the ends also where that of a resample is not,
    and for fewer than two samples. Raises FinstError for values that are not finite, and a confidence outside (0, 1).
    """
    nan = float("nan")
    both = np.stack([part, whole], axis=1)
    above, below = statistics.mean(both)
    size, eps = float(np.abs(whole).mean()), precision(whole)
    if vanishes(below, size, eps, len(whole)):
        return Ratio(nan, nan, nan)
    drawn = statistics.resampled_means(both, resamples=resamples, seed=seed)
    if vanishes(drawn[:, 1], size, eps, len(whole)).any():
        return Ratio(float(above / below), nan, nan)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], statistics.tails(confidence))
    return Ratio(float(above / below), float(low), float(high))
