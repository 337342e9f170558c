"""What all experiments share: checks of a spec, division of trials into units, joining and describing their data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from finst.errors import FinstError
from finst.runs.experiment import Unit
from finst.scenes.object import Grid
from finst.vlm.spec import check_numbers as check_numbers

MAX_NEW_TOKENS = 10
"""Tokens of a generated answer: more than an object's name takes in any published tokenizer."""


def square(text: str) -> Grid:
    """The grid ``2x2`` or ``3x3``, as the paper's sets of unique objects have. Raises FinstError for other texts."""
    grid = Grid.parse(text)
    if (grid.rows, grid.cols) not in ((2, 2), (3, 3)):
        raise FinstError(f"grid is {text}: expected 2x2 or 3x3, as in the paper")
    return grid


def units_of(count: int, per_unit: int, samples: str = "trials") -> tuple[Unit, ...]:
    """Units of ``per_unit`` consecutive trials (or other ``samples``), the last one with what remains of ``count``."""
    chunks = [range(start, min(start + per_unit, count)) for start in range(0, count, per_unit)]
    return tuple(Unit(f"{samples} {chunk[0]}-{chunk[-1]}", tuple(chunk)) for chunk in chunks)


def joined(parts: Sequence[xr.Dataset], dim: str = "trial") -> xr.Dataset:
    """All trials in order. The parts differ only in variables that have the dim ``dim``."""
    data = xr.concat(
        list(parts),
        dim,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    return data if (np.diff(data[dim].values) > 0).all() else data.sortby(dim)


def documented(data: xr.Dataset, documentation: Mapping[str, tuple[str, str]]) -> xr.Dataset:
    """``data``, whose variables named in ``documentation`` now have these units and long names."""
    for name, (units, text) in documentation.items():
        data[name].attrs = {"units": units, "long_name": text}
    return data


def spec_attrs(spec: Any) -> dict[str, Any]:
    """The fields of a spec as attributes of a dataset: tuples as lists, paths as texts."""

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value

    return {name: plain(value) for name, value in asdict(spec).items()}
