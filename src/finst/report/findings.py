"""The results of a run in words and in a table, for the top of its report and for the terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass

from finst.report.tables import aligned
from finst.report.wording import capital

_P = re.compile(r"\b[pq](?: not defined| (?:=|<) [\d.]++)(?! against \w)")
"""A p or q without what it is against."""

_P_COLUMN = re.compile(r"(?:^|[ -])[pq]$")
"""A column's name that ends with p or q."""


@dataclass(frozen=True)
class Findings:
    """The results of one run.

    Raises ValueError where a p value does not say what it is against (``wording.probability`` and ``p_heading`` do).
    """

    title: str
    """What was measured, as a noun phrase in lower case."""
    headline: str
    """The main result, in one or two sentences, with n, intervals and p."""
    sentences: tuple[str, ...]
    """Single results with their numbers."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """The rows of a table, as texts."""
    method: tuple[str, ...]
    """Paragraphs: what was shown, queried, read and tested."""

    def __post_init__(self) -> None:
        texts = [text for text in (self.headline, *self.sentences) if _P.search(text)]
        unclear = [*texts, *(column for column in self.columns if _P_COLUMN.search(column))]
        if unclear:
            raise ValueError(f"a p does not say what it is against: {unclear[0]!r}")

    @property
    def text(self) -> str:
        """The headline, the sentences and the table, for the terminal."""
        lines = [self.headline, "", *(f"- {capital(sentence)}" for sentence in self.sentences)]
        return "\n".join([*lines, "", *aligned([self.columns, *self.rows])])
