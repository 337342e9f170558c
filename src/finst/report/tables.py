"""Tables: tidy CSV from datasets, and aligned columns for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr


def tidy(summary: xr.Dataset, variables: list[str]) -> str:
    """One row an entry, as CSV; floats as they are, so that they equal the summary's."""
    aligned = xr.broadcast(summary[variables].reset_coords(drop=True))[0]
    return aligned.to_dataframe().reset_index().to_csv(index=False, lineterminator="\n")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines, columns padded to their widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
