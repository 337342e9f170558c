"""What came of writing IDs of every task into every other: settings on one half, effects on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.analysis.multiplicity import bh_fdr
from finst.experiments.interventions.effects import ALL, argmax_setting, effects, selection_split
from finst.experiments.interventions.spec import InterventionSpec
from finst.experiments.units import spec_attrs

POOLS = ("within", "across")
"""Trials of all tasks with IDs of their own task, or each with those of one other task, which take turns."""

DOCUMENTATION = {
    "p_all": "largest of the exact paired p values: against no edit and against every control; 1 where one is not less",
    "q": "the same, adjusted for all pairs and stages (Benjamini-Hochberg)",
    "moved": "q is below alpha: more hits than without the edit and than with every control",
    "chosen_k": "heads edited, chosen on the other half",
    "chosen_dose": "what the difference was multiplied by, chosen on the other half",
    "right_before": "share of the target's trials that are right without an edit",
}


@dataclass(frozen=True, eq=False)
class Reported:
    """The reporting half of one target's trials, at the chosen settings."""

    hits: xr.DataArray
    """Dims trial, stage, source, set."""
    before: xr.DataArray
    """Dim trial."""
    right: xr.DataArray
    """Dim trial: right without an edit."""
    there: xr.DataArray
    """Dims stage, source: whether both tasks have the stage."""
    sides: tuple[str, ...]
    """Where the answer is, by trial."""
    k: xr.DataArray
    dose: xr.DataArray

    def matrix(self, confidence: float) -> xr.Dataset:
        """Effects with dims stage, source, set, group; not a number where there is none."""
        found = effects(self.before, self.hits, self.sides, confidence)
        told = found.assign(p_all=_against(self.before, self.hits), chosen_k=self.k, chosen_dose=self.dose)
        return told.where(self.there).assign(right_before=self.right.mean())


def summary_of(spec: InterventionSpec, data: xr.Dataset) -> xr.Dataset:
    """Dims stage, source, target, set, group (sides of the answer), and pool."""
    names = data["source"].values.tolist()
    targets = {name: _reported(data.isel(trial=data["target_task"].values == name), spec.seed) for name in names}
    matrices = [one.matrix(1 - spec.alpha) for one in targets.values()]
    found: xr.Dataset = xr.concat(matrices, xr.Variable("target", names), join="exact")
    found = found.transpose("stage", "source", "target", "set", "group")
    p = found["p_all"]
    adjusted = np.full(p.shape, np.nan)
    adjusted[p.notnull().values] = bh_fdr(p.values[p.notnull().values])
    q = p.copy(data=adjusted)
    summary = found.assign(q=q, moved=q < spec.alpha).merge(_pooled(targets, 1 - spec.alpha), join="exact")
    for name, text in DOCUMENTATION.items():
        summary[name].attrs = {"units": "1", "long_name": text}
    return summary.assign_attrs({**data.attrs, **spec_attrs(spec)})


def _reported(data: xr.Dataset, seed: int) -> Reported:
    role = data["role"].values.tolist().index
    places = data["place"].values.tolist()
    choosing = selection_split(places, seed)
    hits = data["said"] == role("elsewhere")
    shares = hits.isel(trial=choosing).sel(set="top", drop=True).mean("trial").transpose("stage", "source", "k", "dose")
    chosen = [[argmax_setting(one) for one in row] for row in shares]
    dims = ("stage", "source")
    settings = {
        name: xr.DataArray([[one[name] for one in row] for row in chosen], {dim: shares[dim] for dim in dims}, dims)
        for name in ("k", "dose")
    }
    out, before = {"trial": ~choosing}, data["said_before"]
    return Reported(
        hits.isel(out).sel(settings).reset_coords(["k", "dose"], drop=True),
        (before == role("elsewhere")).isel(out),
        (before == role("answer")).isel(out),
        (data["said"] >= 0).isel(trial=0, set=0, k=0, dose=0, drop=True),
        tuple(np.array([name.split()[1] for name in places])[~choosing].tolist()),
        **settings,
    )


def _against(before: xr.DataArray, hits: xr.DataArray) -> xr.DataArray:
    """The largest p of the strongest heads against no edit and against every control, 1 where these do as well."""
    top = hits.sel(set="top", drop=True)
    rivals = [before.broadcast_like(top), *(hits.sel(set=name, drop=True) for name in _controls(hits))]
    held = effects(xr.concat(rivals, "rival"), top, [ALL] * before.size, 0.95).sel(group=ALL, drop=True)
    return held["p"].where(held["gained"] > held["lost"], 1.0).max("rival")


def _controls(hits: xr.DataArray) -> list[str]:
    return [name for name in hits["set"].values.tolist() if name != "top"]


def _pooled(targets: dict[str, Reported], confidence: float) -> xr.Dataset:
    """Effects over all targets, every trial with the IDs of one task: dims pool, stage, set, ``pooled_`` names."""
    stages = next(iter(targets.values())).hits["stage"].values.tolist()
    cells = {(pool, stage): _pool(targets, pool, stage, confidence) for pool in POOLS for stage in stages}
    empty = xr.full_like(next(cell for cell in cells.values() if cell is not None), np.nan, dtype=np.float64)
    rows = [
        xr.concat([cells[pool, stage] or empty for stage in stages], xr.Variable("stage", stages)) for pool in POOLS
    ]
    whole: xr.Dataset = xr.concat(rows, xr.Variable("pool", list(POOLS)))
    return whole.rename({name: f"pooled_{name}" for name in whole.data_vars})


def _pool(targets: dict[str, Reported], pool: str, stage: str, confidence: float) -> xr.Dataset | None:
    """None where no pair of tasks has the stage."""
    hits: list[xr.DataArray] = []
    before: list[xr.DataArray] = []
    for name, one in targets.items():
        sources = _sources(one, name, pool, stage)
        if sources:
            turns = xr.DataArray(np.resize(np.array(sources), one.before.size), dims="trial")
            hits.append(one.hits.sel(stage=stage, drop=True).sel(source=turns).drop_vars("source"))
            before.append(one.before)
    if not hits:
        return None
    whole: xr.DataArray = xr.concat(hits, "trial", join="exact")
    base: xr.DataArray = xr.concat(before, "trial", join="exact")
    held = effects(base, whole, [ALL] * base.size, confidence).sel(group=ALL, drop=True)
    return held.assign(p_all=_against(base, whole))


def _sources(one: Reported, target: str, pool: str, stage: str) -> Sequence[str]:
    there = one.there.sel(stage=stage)
    names = there["source"].values[there.values].tolist()
    return [name for name in names if (name == target) == (pool == "within")]
