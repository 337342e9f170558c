"""Scores of several models side by side: a row a key, a column a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finst.plans.scores.keys import KEYS
from finst.plans.scores.score import Number, Score
from finst.plans.scores.words import cell_text, count_found, count_tested, markdown
from finst.plans.subjects import labels
from finst.report.comparison import Difference
from finst.report.tables import aligned
from finst.report.wording import counted, listed

EQUAL_WEIGHTS = "equal weights"


@dataclass(frozen=True)
class BoardRow:
    """One key in every model."""

    key: str
    numbers: tuple[Number, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """The numbers as texts."""
        return tuple(map(cell_text, self.numbers))


@dataclass(frozen=True)
class Scoreboard:
    """Several scores with a short, unique name for each."""

    labels: tuple[str, ...]
    scores: tuple[Score, ...]

    @classmethod
    def of(cls, folders: Sequence[Path], scores: Sequence[Score]) -> Scoreboard:
        """Names are those of the models, with their folders where models have one name."""
        return cls(labels([score.model for score in scores], folders), tuple(scores))

    @property
    def rows(self) -> tuple[BoardRow, ...]:
        """The keys that have a value in any model."""
        every = (BoardRow(name, tuple(score.keys[name] for score in self.scores)) for name in KEYS)
        return tuple(row for row in every if any(at.value is not None for at in row.numbers))

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Settings, number formats, machines and versions that are not the same in all scores; and equal weights."""
        steps = {
            f"settings of {step.experiment}": [
                "none" if score.steps[place].settings is None else str(score.steps[place].settings)[:8]
                for score in self.scores
            ]
            for place, step in enumerate(self.scores[0].steps)
        }
        weights = [score.weights[:12] for score in self.scores]
        same = {EQUAL_WEIGHTS: weights} if len(set(weights)) < len(weights) else {}
        formats = {"dtype": [str(score.dtype) for score in self.scores]}
        harmless = {
            "device": [str(score.device) for score in self.scores],
            "finst": [versions(score) for score in self.scores],
        }
        return (
            *_unequal({**steps, **formats}, misleads=True),
            *(Difference(name, tuple(values), misleads=True) for name, values in same.items()),
            *_unequal(harmless, misleads=False),
        )

    @property
    def headline(self) -> str:
        """How many numbers of each model are beyond what they are compared with, and whether models are comparable."""
        counts = [
            f"{label} {count_found(score.keys.values())} of {count_tested(score.keys.values())}"
            for label, score in zip(self.labels, self.scores, strict=True)
        ]
        unlike = [each.name for each in self.differences if each.misleads and each.name != EQUAL_WEIGHTS]
        caution = (
            f" They were not made alike ({listed(unlike)}), which may explain differences between them."
            if unlike
            else ""
        )
        return (
            f"Numbers that are beyond what they are compared with, of those tested in {counted(len(counts), 'model')}: "
            f"{listed(counts)}.{caution}"
        )

    @property
    def text(self) -> str:
        """The sentence and the table, for a terminal."""
        lines = [(row.key, *row.cells) for row in self.rows]
        return "\n".join([self.headline, "", *aligned([("key", *self.labels), *lines])])

    @property
    def markdown(self) -> str:
        """The table in Markdown; bold: found."""
        return markdown(("key", *self.labels), ([f"`{row.key}`", *map(_marked, row.numbers)] for row in self.rows))


def _marked(at: Number) -> str:
    return f"**{cell_text(at)}**" if at.verdict == "found" else cell_text(at)


def versions(score: Score) -> str:
    """The versions of finst that measured the steps."""
    return ", ".join(dict.fromkeys(step.finst for step in score.steps if step.finst is not None))


def _unequal(values: dict[str, list[str]], *, misleads: bool) -> tuple[Difference, ...]:
    return tuple(Difference(name, tuple(each), misleads) for name, each in values.items() if len(set(each)) > 1)
