"""The results of a run in words and in a table: the head of its report, and what the terminal shows."""

from __future__ import annotations

from dataclasses import dataclass

from finst.report.tables import aligned
from finst.report.wording import capital


@dataclass(frozen=True)
class Findings:
    """The results of one run."""

    title: str
    """What was done."""
    headline: str
    """The main result, in one sentence or two."""
    sentences: tuple[str, ...]
    """Results with their numbers."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """A table as texts."""
    method: tuple[str, ...]
    """Paragraphs: what was shown, asked, read and tested."""

    @property
    def text(self) -> str:
        """For the terminal: the headline, the sentences and the table."""
        lines = [self.headline, "", *(f"- {capital(sentence)}" for sentence in self.sentences)]
        return "\n".join([*lines, "", *aligned([self.columns, *self.rows])])
