"""What a run found, in words: the head of a plain report page and what the terminal shows."""

from __future__ import annotations

from dataclasses import dataclass

from finst.report.tables import aligned
from finst.report.wording import capital


@dataclass(frozen=True)
class Account:
    """Of one run of any experiment that has no page of its own."""

    title: str
    """What was done."""
    headline: str
    """What came of it, in a sentence."""
    findings: tuple[str, ...]
    """Sentences with numbers."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """A table as texts."""
    method: tuple[str, ...]
    """Paragraphs: what was shown, asked, read and tested."""

    @property
    def text(self) -> str:
        """For the terminal."""
        lines = [self.headline, "", *(f"- {capital(finding)}" for finding in self.findings)]
        return "\n".join([*lines, "", *aligned([self.columns, *self.rows])])
