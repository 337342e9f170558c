"""Paired effects of an edit: settings are selected on one half of the trials, effects reported on the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool

from finst.analysis.proportions import mcnemar, wilson
from finst.experiments.interventions.effect_table import DOCUMENTATION
from finst.experiments.units import documented

ALL = "all"
"""The group of all trials."""


def selection_split(groups: Sequence[str], seed: int) -> Bool[np.ndarray, "trial"]:
    """The trials that settings are selected on: half of every group (rounded down), drawn by ``seed``."""
    rng = np.random.default_rng(seed)
    labels = np.array(groups, dtype=np.str_)
    selection = np.zeros(len(labels), dtype=bool)
    for group in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == group))
        selection[members[: len(members) // 2]] = True
    return selection


def argmax_setting(shares: xr.DataArray, dims: Sequence[str]) -> dict[str, xr.DataArray]:
    """The setting with the largest share: its coordinate along each of ``dims``, over the other dims of ``shares``.

    The first of equal shares counts, where the last of ``dims`` varies fastest: with K and dose in increasing order it
    is the smallest K, and then the smallest dose.
    """
    others = [str(dim) for dim in shares.dims if dim not in dims]
    ordered = shares.transpose(*others, *dims)
    best = ordered.values.reshape(*ordered.shape[: len(others)], -1).argmax(-1)
    places = np.unravel_index(best, ordered.shape[len(others) :])
    coords = {dim: shares[dim] for dim in others}
    return {
        dim: xr.DataArray(shares[dim].values[place], coords, others) for dim, place in zip(dims, places, strict=True)
    }


def effect(
    before: Bool[np.ndarray, "trial"], after: Bool[np.ndarray, "trial"], confidence: float
) -> tuple[float | int, ...]:
    """What ``DOCUMENTATION`` lists, in its order, for the same trials without and with an edit."""
    tested = mcnemar(before, after)
    ends = [wilson(int(hits.sum()), len(hits), confidence) for hits in (before, after)]
    shares = ((float(hits.mean()), *pair) for hits, pair in zip((before, after), ends, strict=True))
    return (len(before), *(value for share in shares for value in share), tested.gained, tested.lost, tested.p)


def effects(before: xr.DataArray, after: xr.DataArray, groups: Sequence[str], confidence: float) -> xr.Dataset:
    """Effects by group (``all``, then each of ``groups``: one a trial, or none), over all other dims of ``after``.

    ``before`` and ``after`` say which trials are hits, along a dim ``trial``.
    """
    labels = np.array(groups, dtype=np.str_)
    before, after = xr.broadcast(before, after)
    names = list(dict.fromkeys([ALL, *labels.tolist()]))
    parts: list[xr.Dataset] = []
    for name in names:
        members = np.arange(before.sizes["trial"]) if name == ALL else np.flatnonzero(labels == name)
        values = xr.apply_ufunc(
            lambda b, a: effect(b, a, confidence),
            before.isel(trial=members),
            after.isel(trial=members),
            input_core_dims=[["trial"], ["trial"]],
            output_core_dims=[[] for _ in DOCUMENTATION],
            vectorize=True,
        )
        parts.append(xr.Dataset(dict(zip(DOCUMENTATION, values, strict=True))))
    whole: xr.Dataset = xr.concat(parts, xr.Variable("group", names), join="exact", data_vars="all", coords="minimal")
    return documented(whole, DOCUMENTATION)


def selected_effects(
    before: xr.DataArray,
    after: xr.DataArray,
    selection: Bool[np.ndarray, "trial"],
    groups: Sequence[str],
    alpha: float,
    *,
    criterion: xr.DataArray,
    settings: Sequence[str] = ("k", "dose"),
    at_chosen: bool = False,
) -> xr.Dataset:
    """Effects on the trials outside ``selection``, and the settings that were best on those inside.

    ``criterion`` has the dims trial and ``settings``: its mean over the selected trials is what a setting is chosen by,
    for each entry of its other dims. ``chosen_NAME`` holds these settings, and ``choosing`` the selection. Effects are
    those of every setting, as ``effects`` with a level of 1 - ``alpha``; with ``at_chosen``, of the chosen ones alone.
    """
    chosen = argmax_setting(criterion.isel(trial=selection).mean("trial"), settings)
    reported = after.isel(trial=~selection)
    if at_chosen:
        reported = reported.sel(chosen).reset_coords(list(settings), drop=True)
    labels = np.array(groups, dtype=np.str_)[~selection].tolist()
    return effects(before.isel(trial=~selection), reported, labels, 1 - alpha).assign(
        {**{f"chosen_{name}": setting for name, setting in chosen.items()}, "choosing": ("trial", selection)}
    )
