"""What the runs of all experiments share: checking numbers of a spec, cutting trials into units, joining units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from finst.errors import FinstError
from finst.runs.experiment import Unit


def check_numbers(spec: object, least: Mapping[str, int]) -> None:
    """Raises FinstError for a field of the spec below its least value, and for an ``alpha`` that is no error rate."""
    for field, minimum in least.items():
        value = getattr(spec, field)
        if value < minimum:
            raise FinstError(f"{field} is {value}: expected at least {minimum}")
    alpha = getattr(spec, "alpha", 0.05)
    if not 0 < alpha < 1:
        raise FinstError(f"alpha is {alpha}: expected an error rate between 0 and 1, such as 0.05")


def units_of(count: int, per_unit: int) -> tuple[Unit, ...]:
    """Consecutive trials, ``per_unit`` a unit."""
    chunks = [range(start, min(start + per_unit, count)) for start in range(0, count, per_unit)]
    return tuple(Unit(f"trials {chunk[0]}-{chunk[-1]}", tuple(chunk)) for chunk in chunks)


def joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """All trials in order."""
    whole = xr.concat(
        list(parts),
        "trial",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    return whole if (np.diff(whole["trial"].values) > 0).all() else whole.sortby("trial")
