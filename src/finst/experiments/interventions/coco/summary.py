"""The summary of ``coco``: how often the first thing is repeated, in all pictures, on the reporting half, by split."""

from __future__ import annotations

import numpy as np
import xarray as xr

from finst.errors import FinstError
from finst.experiments.interventions.coco.noun_phrases import items, same
from finst.experiments.interventions.coco.report import RULES
from finst.experiments.interventions.effects import ALL, beside, chosen_settings, effects, selection_split


def summary_of(data: xr.Dataset, seed: int, alpha: float) -> xr.Dataset:
    """Dims match, set, k, group: how often the first thing is repeated, before and after.

    Groups are the targets of every split; ``all``, each picture once, in the first split of which it is a target; and
    ``reporting``, the half of these that K was not selected on. Raises FinstError when a split has no target left.
    """
    targets = data.isel(trial=np.flatnonzero((data["reason"] == "") & data["target"].any("split")))
    count = targets.sizes["trial"]
    if targets["target"].sum("trial").values.min() == 0 or count < 2:
        raise FinstError(
            f"{count} targets are left in which the model names two things: expected two or more, and one in each "
            "split; more pictures may help"
        )
    before, hits = (repeats(targets[name], targets["first"]) for name in ("said_before", "said"))
    once = targets["target"].argmax("split")
    first = hits.isel(split=once).drop_vars("split")
    choosing = selection_split([ALL] * count, seed)
    choice = chosen_settings(first.isel(trial=choosing), ["k"], 1 - alpha)
    chosen = choice["own_k"].sel(set="top", drop=True)
    reported = first.isel(trial=~choosing)
    alike, alone = (reported.sel(k=k).reset_coords("k", drop=True) for k in (chosen, choice["own_k"]))
    compared = beside(alike, alone, (), 1 - alpha, sets="set", main="top").sel(group=ALL, drop=True)
    groups = {"all": (first, np.full(count, True)), "reporting": (first, ~choosing)}
    groups |= {
        f"split {n}": (hits.sel(split=n, drop=True), targets["target"].sel(split=n).values)
        for n in targets["split"].values
    }
    parts = [
        effects(before.isel(trial=members), after.isel(trial=members), (), 1 - alpha).sel(group=ALL, drop=True)
        for after, members in groups.values()
    ]
    _, stays = repeats(targets["said"], targets["second"]).isel(split=once).drop_vars("split").mean("trial")
    stays.attrs = {"units": "1", "long_name": "share that names the second thing all the same (head noun)"}
    whole: xr.Dataset = xr.concat(
        parts, xr.Variable("group", list(groups)), data_vars="all", coords="minimal", compat="override", join="exact"
    )
    whole = whole.merge(compared, join="exact").merge(choice, join="exact")
    return whole.assign(chosen_k=chosen, stays=stays.drop_vars("match"), choosing=("told", choosing)).assign_coords(
        told=("told", targets["trial"].values)
    )


def repeats(texts: xr.DataArray, names: xr.DataArray) -> xr.DataArray:
    """Whether the text after the second prompt names the thing ``names``, by each of ``RULES`` (dim match)."""
    matches = xr.apply_ufunc(
        lambda text, name: np.array(same(items(text, 2).get(2, ""), name)),
        texts,
        names,
        output_core_dims=[["match"]],
        vectorize=True,
        output_dtypes=[bool],
    )
    return matches.assign_coords(match=list(RULES)).transpose("match", ...)
