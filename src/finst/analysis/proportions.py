"""Intervals of accuracies, and tests of the difference between two accuracies on the same trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from math import comb, lgamma, log, log1p, sqrt
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool

from finst.errors import FinstError


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion; NaN without trials.

    Raises FinstError for counts that are no proportion.
    """
    _check(successes, trials, confidence)
    if not trials:
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    half = z * sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a proportion: its coverage is at least ``confidence``. NaN and FinstError as ``wilson``."""
    _check(successes, trials, confidence)
    if not trials:
        return float("nan"), float("nan")
    tail = 0.5 - confidence / 2
    low = _root(lambda share: _at_least(successes, trials, share), tail) if successes else 0.0
    failures = trials - successes
    high = 1 - _root(lambda share: _at_least(failures, trials, share), tail) if failures else 1.0
    return low, high


def _root(rising: Callable[[float], float], level: float) -> float:
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return low


def _at_least(successes: int, trials: int, share: float) -> float:
    """P(X >= successes) of a binomial."""
    k = np.arange(successes, trials + 1)
    ways = np.array([lgamma(trials + 1) - lgamma(i + 1) - lgamma(trials - i + 1) for i in k.tolist()])
    return float(np.exp(ways + k * log(share) + (trials - k) * log1p(-share)).sum())


def above_share(successes: int, trials: int, share: float) -> float:
    """One-sided p of so many successes or more, where each trial succeeds with the probability ``share``.

    NaN without trials.
    Raises FinstError for counts that are no proportion and for a share outside of [0, 1].
    """
    _check(successes, trials, 0.5)
    if not 0 <= share <= 1:
        raise FinstError(f"a share lies between 0 and 1, not {share}")
    if not trials:
        return float("nan")
    if share in (0, 1) or not successes:
        return float(share == 1 or not successes)
    return min(1.0, _at_least(successes, trials, share))


def fisher(first: int, second: int, first_trials: int, second_trials: int) -> float:
    """Two-sided p of Fisher's exact test that two proportions of different trials are equal; NaN where one has none.

    Raises FinstError for counts that are no proportion.
    """
    _check(first, first_trials, 0.5)
    _check(second, second_trials, 0.5)
    if not first_trials or not second_trials:
        return float("nan")
    total, hits = first_trials + second_trials, first + second
    possible = np.arange(max(0, hits - second_trials), min(hits, first_trials) + 1).tolist()
    logs = np.array([_log_ways(first_trials, k) + _log_ways(second_trials, hits - k) for k in possible])
    chances = np.exp(logs - _log_ways(total, hits))
    observed = chances[first - possible[0]]
    return float(min(1.0, chances[chances <= observed * (1 + 1e-7)].sum()))


def _log_ways(trials: int, successes: int) -> float:
    return lgamma(trials + 1) - lgamma(successes + 1) - lgamma(trials - successes + 1)


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test of two accuracies on the same trials."""

    gained: int
    """Trials wrong before and right after."""
    lost: int
    """Trials right before and wrong after."""
    difference: float
    """Accuracy after minus before."""
    p: float
    """Two-sided. NaN without trials, as ``difference`` is."""


def mcnemar(before: Bool[np.ndarray, "trial"], after: Bool[np.ndarray, "trial"]) -> McNemar:
    """Tests whether as many trials change from wrong to right as from right to wrong; NaN without trials."""
    if not len(before):
        return McNemar(0, 0, float("nan"), float("nan"))
    gained, lost = int((~before & after).sum()), int((before & ~after).sum())
    changed, fewer = gained + lost, min(gained, lost)
    tail = sum(comb(changed, k) for k in range(fewer + 1)) / 2**changed
    return McNemar(gained, lost, (gained - lost) / len(before), min(1.0, 2 * tail))


def fewest_gains(alpha: float) -> int:
    """The smallest number of trials that must change from wrong to right, none the other way, for McNemar's p to be at
    most ``alpha``: 6 for 0.05. Raises FinstError unless ``alpha`` is between 0 and 1."""
    if not 0 < alpha < 1:
        raise FinstError(f"alpha is {alpha}: expected an error rate between 0 and 1, such as 0.05")
    return next(gains for gains in count(1) if 2 * 0.5**gains <= alpha)


def _check(successes: int, trials: int, confidence: float) -> None:
    if not 0 <= successes <= trials:
        raise FinstError(f"{successes} of {trials} is no proportion: expected 0 to all of the trials")
    if not 0 < confidence < 1:
        raise FinstError(f"a confidence level lies between 0 and 1, not {confidence}")
