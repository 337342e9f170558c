"""What a run found, in words: the head of a plain report page and what the terminal shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finst.report.verdict import capital


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


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines, columns padded to their widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
