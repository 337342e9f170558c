"""How a choice of another reproduction changes a result: two numbers, a verdict and a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from finst.report.findings import Findings
from finst.report.wording import counted, number

Direction = Literal["up", "down", "either"]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; the ends are NaN for counts and other numbers without uncertainty."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    @property
    def span(self) -> tuple[float, float]:
        """The interval, or the number twice if it has none."""
        return (self.value, self.value) if np.isnan(self.low) else (self.low, self.high)

    @property
    def text(self) -> str:
        """``0.25 [0.20, 0.31]``; whole numbers without decimals."""
        if np.isnan(self.low):
            return str(int(self.value)) if float(self.value).is_integer() else number(self.value, 2)
        return f"{number(self.value, 2)} [{number(self.low, 2)}, {number(self.high, 2)}]"


@dataclass(frozen=True)
class Shift:
    """The change of a number by one choice."""

    name: str
    """The choice in a few words."""
    experiment: str
    factors: tuple[str, ...]
    """The changed settings, as typed after ``--factor``."""
    quantity: str
    """What the number measures."""
    without: Estimate
    """The number in the baseline."""
    with_: Estimate
    """The number with the choice."""
    expected: Direction
    reason: str
    """Why the choice should change the result, and what it reproduces; whole sentences."""

    @property
    def outcome(self) -> Literal["as expected", "the other way", "not visible"]:
        """Whether the two intervals are disjoint, and in which order."""
        (before_low, before_high), (low, high) = self.without.span, self.with_.span
        if not (low > before_high or high < before_low):
            return "not visible"
        moved = "up" if low > before_high else "down"
        return "as expected" if self.expected in (moved, "either") else "the other way"

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        return {
            "as expected": "changes it" if self.expected == "either" else "changes it as expected",
            "the other way": "changes it in the other direction",
            "not visible": "no visible change on this model",
        }[self.outcome]

    @property
    def sentence(self) -> str:
        """The choice with its numbers, verdict and reason."""
        typed = " ".join(f"--factor {factor}" for factor in self.factors)
        numbers = f"{self.quantity}, {self.without.text} → {self.with_.text}"
        return f"{self.name} ({typed}): {numbers}: {self.verdict}. {self.reason}"


def shift_findings(
    model: str, shifts: Sequence[Shift], left_out: Sequence[str], method: Sequence[str], sample: str = ""
) -> Findings:
    """The findings of a study; ``left_out`` has a sentence for each choice that could not be made, with the reason.

    ``sample`` says over how many samples, and by which intervals, numbers differ.
    """
    expected, opposite = ([s.name for s in shifts if s.outcome == key] for key in ("as expected", "the other way"))
    verb = "changes" if len(expected) == 1 else "change"
    headline = (
        f"{len(expected)} of {counted(len(shifts), 'choice')} of another reproduction {verb} the results of {model}"
    )
    others = "changes" if len(opposite) == 1 else "change"
    unexpected = f"; {len(opposite)} more {others} them in an unexpected direction" if opposite else ""
    return Findings(
        title="choices that change the curves and maps",
        headline=f"{headline}{unexpected}{f' ({sample})' if sample else ''}.",
        sentences=(*(shift.sentence for shift in shifts), *left_out),
        columns=("choice", "without", "with", "verdict", "number"),
        rows=tuple(
            (shift.name, shift.without.text, shift.with_.text, shift.verdict, shift.quantity.partition(" (")[0])
            for shift in shifts
        ),
        method=tuple(method),
    )
