"""Whether something was found, not found, cannot be decided or could not be tested: one rule for all reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

Status = Literal["found", "not found", "undecided", "not testable"]

CLASSES: Mapping[Status, str] = {"found": "yes", "not found": "no", "undecided": "open", "not testable": "open"}
"""The class of a status on a page: what was not decided or not tested is never red."""

LEAST = 2
"""Samples below which nothing is tested."""


@dataclass(frozen=True)
class Evidence:
    """What a claim that an effect is positive rests on. NaN stands for what is not known."""

    n: int
    """Samples, such as pairs."""
    low: float
    """Lower end of the effect's interval."""
    high: float
    """Upper end; of several effects, any of which would do, the largest."""
    p: float
    """Family-wise where there are several."""
    least_p: float
    """The smallest p that so many samples and permutations can give."""
    alpha: float
    ignorable: float = 0.0
    """Effects up to this size, in the effect's unit, would not matter."""

    @property
    def testable(self) -> bool:
        """Whether a p below alpha was possible at all."""
        return self.n >= LEAST and self.least_p < self.alpha and not np.isnan(self.p)

    @property
    def status(self) -> Status:
        """found: p is below alpha and the interval is above zero. not found: the interval excludes effects that matter.

        Where neither is shown it is undecided: a large p by itself shows nothing. not testable: no p below alpha was
        possible.
        """
        if not self.testable:
            return "not testable"
        if self.p < self.alpha and self.low > 0:
            return "found"
        return "not found" if self.high <= self.ignorable else "undecided"


def permutation_limit(permutations: int) -> float:
    """The smallest p of a test with so many random permutations and the data themselves."""
    return 1 / (permutations + 1)


def sign_flip_limit(samples: int, permutations: int) -> float:
    """The smallest p of a two-sided sign-flip test: all patterns where there are at most ``permutations`` of them."""
    patterns = 2.0 ** (samples - 1)
    return 1 / patterns if patterns <= permutations else permutation_limit(permutations)
