"""The summary of ``photoreal``: each place by itself, with its own settings."""

from __future__ import annotations

import numpy as np
import xarray as xr

from finst.experiments.interventions.effects import ALL, selected_effects, selection_split
from finst.experiments.interventions.photoreal.design import ROLES
from finst.scenes.side_by_side_pairs import SIDES


def summary_of(data: xr.Dataset, seed: int, alpha: float) -> xr.Dataset:
    """Dims place, stage, set, k, dose, group: effects on the reporting half, and what was chosen on the other.

    A hit names the described thing's colour. Settings are chosen for each place, stage and set, both sides together.
    Data of an older finst has no places: its summary has no such dim, and is of all rows together.
    """
    if "place" not in data.coords:
        choosing = selection_split(data["side"].values.tolist(), seed)
        return _at(data, choosing, alpha).assign(choosing=("trial", choosing))
    places, by_trial = data["place"].values.tolist(), data["of_place"].values
    choosing = selection_split(
        [f"{place} {side}" for place, side in zip(by_trial, data["side"].values, strict=True)], seed
    )
    parts = [_at(data.isel(trial=by_trial == place), choosing[by_trial == place], alpha) for place in places]
    alike = [part.sel(group=[ALL, *SIDES]) for part in parts]
    whole: xr.Dataset = xr.concat(alike, xr.Variable("place", places), join="exact")
    return whole.assign(choosing=("trial", choosing))


def _at(data: xr.Dataset, choosing: np.ndarray, alpha: float) -> xr.Dataset:
    """The trials of one place."""
    hits, before = (data[name] == ROLES.index("described") for name in ("said", "said_before"))
    share = hits.isel(trial=choosing).mean("trial").transpose("stage", "set", "k", "dose")
    right = (data["said_before"] == ROLES.index("target")).isel(trial=~choosing)
    found = selected_effects(before, hits, choosing, data["side"].values.tolist(), alpha)
    return found.drop_vars("choosing").assign(
        chosen_k=found["own_k"],
        chosen_dose=found["own_dose"],
        choosing_share=share.assign_attrs(units="1", long_name="share of hits on the choosing half"),
        right_before=right.mean().assign_attrs(units="1", long_name="share right without an edit"),
    )
