"""What an edit did to answers: chosen on one half of the trials, told of the other, before and after on the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool

from finst.analysis.proportions import mcnemar, wilson
from finst.experiments.units import documented

DOCUMENTATION = {
    "n": ("trials", "trials that the shares are of"),
    "before": ("1", "share of hits without the edit"),
    "before_low": ("1", "lower end of its Wilson interval"),
    "before_high": ("1", "upper end of its Wilson interval"),
    "after": ("1", "share of hits with the edit, same trials"),
    "after_low": ("1", "lower end of its Wilson interval"),
    "after_high": ("1", "upper end of its Wilson interval"),
    "gained": ("trials", "hits with the edit alone"),
    "lost": ("trials", "hits without the edit alone"),
    "p": ("1", "two-sided exact McNemar p of after against before"),
}

ALL = "all"
"""The group of all trials."""


def selection_split(groups: Sequence[str], seed: int) -> Bool[np.ndarray, "trial"]:
    """Which trials settings are chosen on: of every group half of the trials (rounded down), drawn by seed."""
    rng = np.random.default_rng(seed)
    of = np.array(groups, dtype=np.str_)
    chosen = np.zeros(len(of), dtype=bool)
    for group in np.unique(of):
        inside = rng.permutation(np.flatnonzero(of == group))
        chosen[inside[: len(inside) // 2]] = True
    return chosen


def argmax_setting(shares: xr.DataArray) -> dict[str, float]:
    """Coordinates of the largest share; among equal ones the first in the order of the dims and their coordinates."""
    at = np.unravel_index(int(shares.values.argmax()), shares.shape)
    return {str(dim): shares[dim].values[place].item() for dim, place in zip(shares.dims, at, strict=True)}


def effect(
    before: Bool[np.ndarray, "trial"], after: Bool[np.ndarray, "trial"], confidence: float
) -> tuple[float | int, ...]:
    """What ``DOCUMENTATION`` lists, in its order, of the same trials without and with an edit."""
    tested = mcnemar(before, after)
    ends = [wilson(int(hits.sum()), len(hits), confidence) for hits in (before, after)]
    shares = ((float(hits.mean()), *pair) for hits, pair in zip((before, after), ends, strict=True))
    return (len(before), *(value for share in shares for value in share), tested.gained, tested.lost, tested.p)


def effects(before: xr.DataArray, after: xr.DataArray, groups: Sequence[str], confidence: float) -> xr.Dataset:
    """Effects by group (``all``, then each of ``groups``: one a trial, or none), over all other dims of ``after``."""
    of = np.array(groups, dtype=np.str_)
    before, after = xr.broadcast(before, after)
    names = list(dict.fromkeys([ALL, *of.tolist()]))
    parts: list[xr.Dataset] = []
    for name in names:
        inside = np.arange(before.sizes["trial"]) if name == ALL else np.flatnonzero(of == name)
        values = xr.apply_ufunc(
            lambda b, a: effect(b, a, confidence),
            before.isel(trial=inside),
            after.isel(trial=inside),
            input_core_dims=[["trial"], ["trial"]],
            output_core_dims=[[] for _ in DOCUMENTATION],
            vectorize=True,
        )
        parts.append(xr.Dataset(dict(zip(DOCUMENTATION, values, strict=True))))
    whole: xr.Dataset = xr.concat(parts, xr.Variable("group", names), join="exact", data_vars="all", coords="minimal")
    return documented(whole, DOCUMENTATION)
