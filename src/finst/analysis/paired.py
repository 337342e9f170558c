"""The difference between two shares of the same trials: its score interval, and whether they can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf, nan, sqrt
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Int

from finst.errors import FinstError


@lru_cache(maxsize=100_000)
def paired_interval(gained: int, lost: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Tango's score interval of the difference of two shares of the same ``trials`` (Statistics in Medicine 17, 1998).

    ``gained`` trials are hits in the second share alone, ``lost`` ones in the first alone; the difference is the second
    minus the first. The interval leaves out 0 exactly where ``told_apart`` says so; both ends are NaN without trials.
    Raises FinstError for counts that are no part of the trials, and for a confidence that is none.
    """
    if min(gained, lost) < 0 or gained + lost > trials:
        raise FinstError(f"{gained} gained and {lost} lost of {trials} trials: expected parts of the trials")
    z = _z(confidence)
    if not trials:
        return nan, nan
    difference = (gained - lost) / trials
    low = _crossing(lambda at: _score(gained, lost, trials, at) > z, -1.0, difference)
    high = _crossing(lambda at: _score(gained, lost, trials, at) > -z, difference, 1.0)
    return low, high


def told_apart(
    gained: Int[np.ndarray, "pair"], lost: Int[np.ndarray, "pair"], confidence: float = 0.95
) -> Bool[np.ndarray, "pair"]:
    """Whether the score interval of the difference leaves out 0.

    Four trials that all change in one direction are enough at 95 %, three are not. Raises FinstError for a confidence
    that is none.
    """
    return (gained - lost) ** 2 > _z(confidence) ** 2 * (gained + lost)


def _score(gained: int, lost: int, trials: int, difference: float) -> float:
    """The score statistic of a difference, with the discordant shares that are most likely given it."""
    distance = gained - lost - trials * difference
    linear = (2 * trials - gained + lost) * difference - gained - lost
    root = sqrt(max(0.0, linear**2 + 8 * trials * lost * difference * (1 - difference)))
    rarer = (root - linear) / (4 * trials)
    variance = trials * (2 * rarer + difference * (1 - difference))
    if variance <= 0:
        return inf if distance > 0 else -inf if distance < 0 else 0.0
    return distance / sqrt(variance)


def _crossing(before: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``before`` turns from true to false between two differences, to the last digit."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if before(middle) else (low, middle)
    return middle


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise FinstError(f"a confidence level lies between 0 and 1, not {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)
