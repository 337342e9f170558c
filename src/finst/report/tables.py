"""Tables: tidy CSV from datasets, and aligned columns for the terminal."""

from __future__ import annotations

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
