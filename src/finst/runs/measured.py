"""What was measured is finite, or it is no result: checked before a unit is written and when it is read again."""

from __future__ import annotations

import numpy as np
import xarray as xr

from finst.errors import NotFiniteError


def check_measured(data: xr.Dataset, unit: str) -> None:
    """Raises NotFiniteError naming the first variable of a unit with a number that is not finite, and where it is."""
    for name, variable in data.data_vars.items():
        values = variable.values
        if values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        place = np.argwhere(~np.isfinite(values))[0]
        where = ", ".join(f"{dim} {variable[dim].values[at]}" for dim, at in zip(variable.dims, place, strict=True))
        raise NotFiniteError(
            f"{unit}: {name} is {values[tuple(place)]} at {where or 'its only entry'}; expected finite numbers. No "
            "result is made of it: measure again with a checkpoint and a dtype that give finite numbers"
        )
