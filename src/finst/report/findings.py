"""The results of a run in words and in a table, for the top of its report and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from finst.report.tables import aligned
from finst.report.wording import capital


@dataclass(frozen=True)
class Findings:
    """The results of one run."""

    title: str
    """What was measured, as a noun phrase in lower case."""
    headline: str
    """The main result, in one or two sentences."""
    sentences: tuple[str, ...]
    """Single results with their numbers."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """The rows of a table, as texts."""
    method: tuple[str, ...]
    """Paragraphs: what was shown, queried, read and tested."""

    @property
    def text(self) -> str:
        """The headline, the sentences and the table, for the terminal."""
        lines = [self.headline, "", *(f"- {capital(sentence)}" for sentence in self.sentences)]
        return "\n".join([*lines, "", *aligned([self.columns, *self.rows])])
