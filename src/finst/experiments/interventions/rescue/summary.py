"""The summary of ``rescue``: for each grid the selected K, effects, and how many wrong answers turn right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from finst.analysis.proportions import fewest_gains, wilson
from finst.experiments.interventions.effects import ALL, effects, selected_effects, selection_split
from finst.experiments.interventions.rescue.report import WRONG
from finst.experiments.units import documented

FEWEST = "wrong trials that must turn right, and none wrong, for McNemar's p to be at most alpha"

ADDED = {
    "against_wrong": ("1", "two-sided exact p of the right cell's prototype against the wrong cell's"),
    "wrong_before": ("trials", "trials without a hit before the edit"),
    "rescued": ("1", "share of those with a hit after it"),
    "rescued_low": ("1", "lower end of its Wilson interval"),
    "rescued_high": ("1", "upper end of its Wilson interval"),
    "high": ("1", "share of hits in high entropy, no edit, all trials of the grid"),
    "high_low": ("1", "lower end of its Wilson interval"),
    "high_high": ("1", "upper end of its Wilson interval"),
}


def summary_of(data: xr.Dataset, grids: Sequence[str], seed: int, alpha: float) -> xr.Dataset:
    """Dims grid, set, k, score: effects on the reporting half, with the K that was chosen on the other."""
    by_trial = data["of_grid"].values
    choosing = selection_split(by_trial.tolist(), seed)
    parts = [_grid_summary(data.isel(trial=by_trial == grid), choosing[by_trial == grid], alpha) for grid in grids]
    fewest = ((), fewest_gains(alpha), {"units": "trials", "long_name": FEWEST})
    whole: xr.Dataset = xr.concat(parts, xr.Variable("grid", list(grids)), join="exact")
    return whole.assign(choosing=("trial", choosing), fewest=fewest)


def _grid_summary(data: xr.Dataset, choosing: np.ndarray, alpha: float) -> xr.Dataset:
    """The trials of one grid; whole answers with the right cell's prototype select K."""
    criterion = data["hit"].sel(score="answer", drop=True)
    groups = [ALL] * data.sizes["trial"]
    effect = selected_effects(
        data["hit_before"], data["hit"], choosing, groups, alpha, criterion=criterion, settings=["k"]
    ).sel(group=ALL, drop=True)
    before, hit = (data[name].isel(trial=~choosing) for name in ("hit_before", "hit"))
    right, wrong_cell = (hit.sel(set=name, drop=True) for name in ("top", WRONG))
    high, wrong = data["hit_high"], (~before).sum("trial")
    trials = xr.full_like(high.isel(trial=0, drop=True), high.sizes["trial"], dtype=int)
    added = {
        "against_wrong": effects(wrong_cell, right, (), 1 - alpha)["p"].sel(group=ALL, drop=True),
        "wrong_before": wrong,
        **_shares("rescued", effect["gained"], wrong, 1 - alpha),
        **_shares("high", high.sum("trial"), trials, 1 - alpha),
    }
    return documented(effect.drop_vars("choosing").assign(added), ADDED)


def _shares(name: str, hits: xr.DataArray, trials: xr.DataArray, confidence: float) -> dict[str, xr.DataArray]:
    """The share of ``hits`` among ``trials`` with Wilson's interval; nan where there is no trial."""
    none = (np.nan, np.nan, np.nan)
    values = xr.apply_ufunc(
        lambda hit, n: (hit / n, *wilson(int(hit), int(n), confidence)) if n else none,
        *xr.broadcast(hits, trials),
        output_core_dims=[[], [], []],
        vectorize=True,
    )
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
