"""Tables: tidy CSV from datasets, aligned columns for the terminal, and cells that know their heading for pages."""

from __future__ import annotations

import re
from collections.abc import Sequence

import xarray as xr


def tidy(summary: xr.Dataset, variables: list[str]) -> str:
    """``variables`` as CSV, one row per entry; floats in full precision, equal to the summary's."""
    aligned = xr.broadcast(summary[variables].reset_coords(drop=True))[0]
    return aligned.to_dataframe().reset_index().to_csv(index=False, lineterminator="\n")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines, with columns padded to their widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def labelled(html: str) -> str:
    """A page in which every cell of a table carries the heading of its column as ``data-label``."""
    return re.sub(r"<table.*?</table>", lambda table: _labelled_table(table[0]), html, flags=re.DOTALL)


def _labelled_table(table: str) -> str:
    head, mark, body = table.partition("</thead>")
    texts = [re.sub(r"<[^>]*>", "", text) for text in re.findall(r"<th\b[^>]*>(.*?)</th>", head, flags=re.DOTALL)]
    labels = [" ".join(text.replace('"', "&#34;").split()) for text in texts]
    return head + mark + re.sub(r"<tr\b.*?</tr>", lambda row: _labelled_row(row[0], labels), body, flags=re.DOTALL)


def _labelled_row(row: str, labels: Sequence[str]) -> str:
    """Headings that are empty give no label; rows whose cells span columns have none."""
    if "colspan" in row:
        return row
    first, *cells = re.split(r"<td\b", row)
    marks = [f'<td data-label="{label}"' if label else "<td" for label in labels]
    return first + "".join(mark + cell for mark, cell in zip(marks, cells, strict=True))
