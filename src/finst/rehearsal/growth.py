"""How times grow: from small sizes that are measured to a size that is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

ERRORS = 2
"""Standard errors of the mean time of a trial on either side of an estimate."""


@dataclass(frozen=True)
class Span:
    """An estimate with a range."""

    value: float
    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        """The sum; the ends of the range are the sums of the ends, as for errors that go together."""
        return Span(self.value + other.value, self.low + other.low, self.high + other.high)


NOTHING = Span(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class UnitTimes:
    """Measured units: trials and seconds of each."""

    small: Sequence[tuple[int, float]]
    large: tuple[int, float] | None
    """A larger one with trials like those of the first ``like`` small ones; None if nothing larger was measured."""
    like: int = 0

    @property
    def each(self) -> float:
        """Seconds that a unit takes whatever its trials: what small units take longer than a large one."""
        if self.large is None:
            return 0.0
        trials, seconds = (sum(part) for part in zip(*self.small[: self.like], strict=True))
        many, together = self.large
        apart = self.like * many - trials
        most = min(time for _, time in self.small)
        return min(most, max(0.0, (seconds * many - together * trials) / apart)) if apart > 0 else 0.0


def of_units(times: UnitTimes, planned: Sequence[int]) -> Span:
    """Seconds of units with ``planned`` trials each: ``times.each`` for a unit, and the rest by trials.

    The range is two standard errors of the mean time of a trial over the small units on either side; from zero to twice
    the value where there is one unit alone.
    """
    trials, seconds = (sum(part) for part in zip(*times.small, strict=True))
    a_trial = (seconds - times.each * len(times.small)) / trials
    value = times.each * len(planned) + a_trial * sum(planned)
    rates = np.array([time / n for n, time in times.small])
    share = 1.0
    if len(rates) > 1:
        error = rates.std(ddof=1) / np.sqrt(len(rates)) / max(float(rates.mean()), 1e-9)
        share = min(1.0, ERRORS * float(error))
    return Span(value, value * (1 - share), value * (1 + share))


def of_preparation(sizes: Sequence[int], seconds: Sequence[float], planned: int) -> tuple[Span, float]:
    """Seconds of work on ``planned`` pictures, and its fixed part, from two or fewer measured ``sizes``.

    The range is from a line through both, to no fixed part at all. Without pictures it is the longest time.
    """
    if planned == 0 or max(sizes) == 0:
        return _at(max(seconds)), max(seconds)
    by_share = seconds[-1] * planned / sizes[-1]
    if planned == sizes[-1] or len(set(sizes)) < 2:
        return _at(by_share), 0.0
    slope = max(0.0, (seconds[-1] - seconds[0]) / (sizes[-1] - sizes[0]))
    line = seconds[-1] + slope * (planned - sizes[-1])
    return Span(line, min(line, by_share), max(line, by_share)), max(0.0, line - slope * planned)


def of_statistics(sizes: Sequence[int], seconds: Sequence[float], planned: int) -> tuple[Span, float]:
    """Seconds of statistics over ``planned`` trials, and their fixed part, from measured ``sizes`` in rising order.

    a + b n + c n² with a, b, c >= 0, by least squares of relative errors. The range is from a line through the last two
    sizes to the last one's time growing with the square. The measured time itself where ``planned`` was measured.
    """
    if planned == sizes[-1]:
        return _at(seconds[-1]), min(seconds)
    n, times = np.array(sizes, dtype=float), np.array(seconds)
    terms = np.stack([np.ones_like(n), n, n**2], axis=1)
    factors = _least_squares(terms / times[:, None], np.ones_like(times))
    value = float(sum(factor * planned**power for power, factor in enumerate(factors)))
    last = seconds[-1]
    slope = max(0.0, (last - seconds[-2]) / (sizes[-1] - sizes[-2])) if len(sizes) > 1 else last / sizes[-1]
    ends = (last + slope * (planned - sizes[-1]), last * (planned / sizes[-1]) ** 2, value)
    return Span(value, min(ends), max(ends)), float(factors[0])


def _at(value: float) -> Span:
    return Span(value, value, value)


def _least_squares(
    terms: Float[np.ndarray, "size term"], values: Float[np.ndarray, "size"]
) -> Float[np.ndarray, "term"]:
    """Factors of the terms, none below zero, with the least squared error: the best of all choices of terms.

    Equal errors are settled for the fewest terms, and among those for the later ones.
    """
    scale = np.abs(terms).max(axis=0)
    best, least = np.zeros(terms.shape[1]), float((values**2).sum())
    for size in range(1, terms.shape[1] + 1):
        for chosen in reversed([*combinations(range(terms.shape[1]), size)]):
            columns = [*chosen]
            part = np.linalg.lstsq(terms[:, columns] / scale[columns], values, rcond=None)[0] / scale[columns]
            error = float(((terms[:, columns] @ part - values) ** 2).sum())
            if (part >= 0).all() and error < least * (1 - 1e-9):
                best, least = np.zeros(terms.shape[1]), error
                best[columns] = part
    return best
