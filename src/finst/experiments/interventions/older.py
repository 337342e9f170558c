"""Controls at settings of their own from summaries of an older finst, as far as those kept what it takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from finst.analysis.proportions import wilson


def own_from_grid(grid: xr.Dataset, settings: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """``own_after`` and ``own_NAME`` of every set, from a ``grid`` of shares (dims set and those of ``settings``).

    ``settings`` are those that the older rule chose, the largest share on the other half.
    """
    found = grid[["after", "after_low", "after_high"]].sel(settings).reset_coords([*settings], drop=True)
    return found.rename({name: f"own_{name}" for name in map(str, found.data_vars)}).assign(
        {f"own_{name}": setting for name, setting in settings.items()}
    )


def grid_of_shares(share: xr.DataArray, n: int, confidence: float) -> xr.Dataset:
    """``after`` with Wilson intervals, from shares of ``n`` trials."""
    ends = [wilson(round(value * n), n, confidence) for value in share.values.ravel().tolist()]
    low, high = np.array(ends).reshape(*share.shape, 2).transpose(share.ndim, *range(share.ndim))
    return xr.Dataset({"after": share, "after_low": share.copy(data=low), "after_high": share.copy(data=high)})


def largest(share: xr.DataArray) -> dict[str, xr.DataArray]:
    """The K and dose of the largest share of every set (dims set, k, dose): the smallest of equal ones."""
    flat = share.transpose("set", "k", "dose").values.reshape(share.sizes["set"], -1).argmax(1)
    places = np.unravel_index(flat, (share.sizes["k"], share.sizes["dose"]))
    return {
        name: xr.DataArray(share[name].values[place], {"set": share["set"]}, ["set"])
        for name, place in zip(("k", "dose"), places, strict=True)
    }
