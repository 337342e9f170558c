"""What a choice of another reproduction did to a result: two numbers, a verdict and a reason, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from finst.report.findings import Findings
from finst.report.wording import number

Direction = Literal["up", "down", "either"]


@dataclass(frozen=True)
class Measured:
    """A number with its interval; the ends are NaN for counts and for what has no uncertainty of its own."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    @property
    def span(self) -> tuple[float, float]:
        """The interval, or the number itself twice."""
        return (self.value, self.value) if np.isnan(self.low) else (self.low, self.high)

    @property
    def text(self) -> str:
        """``0.25 [0.20, 0.31]``; whole numbers as such."""
        if np.isnan(self.low):
            return str(int(self.value)) if float(self.value).is_integer() else number(self.value, 2)
        return f"{number(self.value, 2)} [{number(self.low, 2)}, {number(self.high, 2)}]"


@dataclass(frozen=True)
class Bend:
    """Of one choice."""

    name: str
    """What was done, in a few words."""
    experiment: str
    factors: tuple[str, ...]
    """As typed after ``--factor``, on top of the baseline."""
    quantity: str
    """What the number is."""
    without: Measured
    """In the baseline."""
    with_: Measured
    """With the choice."""
    expected: Direction
    reason: str
    """Why it should bend the result, and what it reproduces; whole sentences."""

    @property
    def outcome(self) -> Literal["as expected", "the other way", "not visible"]:
        """By the two intervals: what overlaps is not visible."""
        (low, high), (least, most) = self.without.span, self.with_.span
        if not (least > high or most < low):
            return "not visible"
        moved = "up" if least > high else "down"
        return "as expected" if self.expected in (moved, "either") else "the other way"

    @property
    def verdict(self) -> str:
        """For people."""
        return {
            "as expected": "bends it" if self.expected == "either" else "bends it as expected",
            "the other way": "bends it the other way",
            "not visible": "no bend is visible on this model",
        }[self.outcome]

    @property
    def sentence(self) -> str:
        """Numbers, verdict and reason."""
        typed = " ".join(f"--factor {factor}" for factor in self.factors)
        numbers = f"{self.quantity}, {self.without.text} → {self.with_.text}"
        return f"{self.name} ({typed}): {numbers}: {self.verdict}. {self.reason}"


def bends_findings(model: str, bends: Sequence[Bend], left_out: Sequence[str], method: Sequence[str]) -> Findings:
    """The page's words; ``left_out`` says which choices could not be tried, and why."""
    by_outcome = {key: [bend.name for bend in bends if bend.outcome == key] for key in ("as expected", "the other way")}
    bent = by_outcome["as expected"]
    headline = f"{len(bent)} of {len(bends)} choices of another reproduction bend what {model} shows"
    others = by_outcome["the other way"]
    return Findings(
        title="what bends the curves and maps",
        headline=f"{headline}{f'; {len(others)} bend it in an unexpected direction' if others else ''}.",
        sentences=(*(bend.sentence for bend in bends), *left_out),
        columns=("choice", "without", "with", "verdict", "number"),
        rows=tuple(
            (bend.name, bend.without.text, bend.with_.text, bend.verdict, bend.quantity.partition(" (")[0])
            for bend in bends
        ),
        method=tuple(method),
    )
