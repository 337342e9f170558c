"""Tables: tidy CSV from datasets, aligned columns for the terminal, and headings of cells on narrow screens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape

import xarray as xr


def tidy(summary: xr.Dataset, variables: list[str]) -> str:
    """``variables`` as CSV, one row per entry; floats in full precision, equal to the summary's."""
    aligned = xr.broadcast(summary[variables].reset_coords(drop=True))[0]
    return aligned.to_dataframe().reset_index().to_csv(index=False, lineterminator="\n")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines, with columns padded to their widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


NARROW = "@media screen and (max-width: 48rem)"
"""Screens on which rows of tables are lists, as in ``page.css``."""


def labelled(page: str) -> str:
    """A page whose style gives every cell of a table the heading of its column, for screens that show rows as lists."""
    rules: list[str] = []

    def named(table: re.Match[str]) -> str:
        name = f"table-{len(rules) + 1}"
        rules.append("\n".join(_rules(table[0], name)))
        return table[0].replace("<table", f'<table id="{name}"', 1)

    head, mark, body = page.partition("</style>")
    body = re.sub(r"<table.*?</table>", named, body, flags=re.DOTALL)
    return f"{head}{NARROW} {{\n{chr(10).join(rules)}\n}}\n{mark}{body}" if rules else page


def _rules(table: str, name: str) -> list[str]:
    """One rule a column; a column without a heading has none, and its cells are bold."""
    heads = re.findall(r"<th\b[^>]*>(.*?)</th>", table.partition("</thead>")[0], flags=re.DOTALL)
    rules = []
    for column, text in enumerate(heads, 1):
        label = " ".join(unescape(re.sub(r"<[^>]*>", "", text)).split())
        cell = f"#{name} td:nth-child({column}):not([colspan])"
        rules.append(f"{cell}::before {{ content: {_quoted(label)}; }}" if label else f"{cell} {{ display: block; }}")
    return rules


def _quoted(text: str) -> str:
    """A string of a style sheet that cannot end the style sheet."""
    return '"' + re.sub(r'["\\<>&\x00-\x1f]', lambda found: f"\\{ord(found[0]):x} ", text) + '"'
