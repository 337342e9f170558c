"""The summary of ``transfer``: settings selected on one half of each target's trials, effects reported on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.analysis.multiplicity import bh_fdr
from finst.experiments.interventions.effects import ALL, beside, chosen_settings, effects, selection_split
from finst.experiments.interventions.transfer.report import POOLS
from finst.experiments.units import documented

DOCUMENTATION = {
    "p_all": (
        "1",
        "largest of the exact paired p values: against no edit, and against every control at the same setting and at "
        "its own; 1 where one is not less",
    ),
    "q": ("1", "the same, adjusted for all pairs and stages (Benjamini-Hochberg)"),
    "moved": ("1", "q is below alpha: more hits than without the edit and than with every control"),
    "chosen_k": ("1", "heads edited, chosen on the other half"),
    "chosen_dose": ("1", "what the difference was multiplied by, chosen on the other half"),
    "right_before": ("1", "share of the target's trials that are right without an edit"),
}


@dataclass(frozen=True, eq=False)
class ReportingHalf:
    """The trials of one target that no setting was selected on, at the selected settings."""

    hits: xr.DataArray
    """Dims trial, stage, source, set: at the settings of the strongest heads."""
    own: xr.DataArray
    """The same, each set at its own setting."""
    before: xr.DataArray
    """Dim trial."""
    right: xr.DataArray
    """Dim trial: right without an edit."""
    exists: xr.DataArray
    """Dims stage, source: whether both tasks have the stage."""
    sides: tuple[str, ...]
    """Where the answer is, by trial."""
    choice: xr.Dataset
    """What was chosen for every set: dims stage, source, set."""

    def matrix(self, confidence: float) -> xr.Dataset:
        """Effects with dims stage, source, set, group; nan where a task lacks the stage."""
        top = self.choice.sel(set="top", drop=True)
        compared = beside(self.hits, self.own, self.sides, confidence, sets="set", main="top")
        whole = effects(self.before, self.hits, self.sides, confidence).merge(compared, join="exact")
        whole = whole.assign(self.choice.drop_vars("tried").data_vars).assign(
            p_all=_largest_p(self.before, self.hits, self.own), chosen_k=top["own_k"], chosen_dose=top["own_dose"]
        )
        return whole.where(self.exists).assign(right_before=self.right.mean(), tried=self.choice["tried"])

    def sources(self, target: str, pool: str, stage: str) -> Sequence[str]:
        """The tasks whose IDs are pooled for ``target``: itself (within), or all others (across)."""
        exists = self.exists.sel(stage=stage)
        names = exists["source"].values[exists.values].tolist()
        return [name for name in names if (name == target) == (pool == "within")]


def summary_of(data: xr.Dataset, seed: int, alpha: float) -> xr.Dataset:
    """Dims stage, source, target, set, group (sides of the answer), and pool."""
    names = data["source"].values.tolist()
    targets = {
        name: _reporting_half(data.isel(trial=data["target_task"].values == name), seed, 1 - alpha) for name in names
    }
    matrices = [half.matrix(1 - alpha) for half in targets.values()]
    whole: xr.Dataset = xr.concat(matrices, xr.Variable("target", names), join="exact")
    whole = whole.transpose("stage", "source", "target", "set", "group")
    p = whole["p_all"]
    adjusted = np.full(p.shape, np.nan)
    adjusted[p.notnull().values] = bh_fdr(p.values[p.notnull().values])
    q = p.copy(data=adjusted)
    summary = whole.assign(q=q, moved=q < alpha).merge(_pooled(targets, 1 - alpha), join="exact")
    return documented(summary, DOCUMENTATION)


def _reporting_half(data: xr.Dataset, seed: int, confidence: float) -> ReportingHalf:
    role = data["role"].values.tolist().index
    places = data["place"].values.tolist()
    choosing = selection_split(places, seed)
    hits, before = data["said"] == role("elsewhere"), data["said_before"]
    choice = chosen_settings(hits.isel(trial=choosing), ("k", "dose"), confidence)
    own = {name: choice[f"own_{name}"] for name in ("k", "dose")}
    top = {name: setting.sel(set="top", drop=True) for name, setting in own.items()}
    reported = {"trial": ~choosing}
    alike, alone = (hits.isel(reported).sel(at).reset_coords(["k", "dose"], drop=True) for at in (top, own))
    return ReportingHalf(
        alike,
        alone,
        (before == role("elsewhere")).isel(reported),
        (before == role("answer")).isel(reported),
        (data["said"] >= 0).isel(trial=0, set=0, k=0, dose=0, drop=True),
        tuple(np.array([name.split()[1] for name in places])[~choosing].tolist()),
        choice,
    )


def _largest_p(before: xr.DataArray, hits: xr.DataArray, own: xr.DataArray) -> xr.DataArray:
    """The largest p of the strongest heads: against no edit, and against every control at the same setting and at its
    own; 1 where one of these does as well."""
    top = hits.sel(set="top", drop=True)
    controls = [name for name in hits["set"].values.tolist() if name != "top"]
    rivals = [each.sel(set=name, drop=True) for each in (hits, own) for name in controls]
    every: xr.DataArray = xr.concat([before.broadcast_like(top), *rivals], "rival")
    compared = effects(every, top, (), 0.95).sel(group=ALL, drop=True)
    return compared["p"].where(compared["gained"] > compared["lost"], 1.0).max("rival")


def _pooled(targets: dict[str, ReportingHalf], confidence: float) -> xr.Dataset:
    """Effects over all targets, every trial with the IDs of one task: dims pool, stage, set, ``pooled_`` names."""
    stages = next(iter(targets.values())).hits["stage"].values.tolist()
    cells = {(pool, stage): _pool(targets, pool, stage, confidence) for pool in POOLS for stage in stages}
    empty = xr.full_like(next(cell for cell in cells.values() if cell is not None), np.nan, dtype=np.float64)
    rows = [
        xr.concat([cells[pool, stage] or empty for stage in stages], xr.Variable("stage", stages)) for pool in POOLS
    ]
    whole: xr.Dataset = xr.concat(rows, xr.Variable("pool", list(POOLS)))
    return whole.rename({name: f"pooled_{name}" for name in whole.data_vars})


def _pool(targets: dict[str, ReportingHalf], pool: str, stage: str, confidence: float) -> xr.Dataset | None:
    """One pool and stage; None where no pair of tasks has the stage."""
    before: list[xr.DataArray] = []
    hits: list[xr.DataArray] = []
    own: list[xr.DataArray] = []
    for name, half in targets.items():
        sources = half.sources(name, pool, stage)
        if sources:
            turns = xr.DataArray(np.resize(np.array(sources), half.before.size), dims="trial")
            before.append(half.before)
            for every, part in ((hits, half.hits), (own, half.own)):
                every.append(part.sel(stage=stage, drop=True).sel(source=turns).drop_vars("source"))
    if not hits:
        return None
    unedited: xr.DataArray = xr.concat(before, "trial", join="exact")
    alike: xr.DataArray = xr.concat(hits, "trial", join="exact")
    alone: xr.DataArray = xr.concat(own, "trial", join="exact")
    compared = beside(alike, alone, (), confidence, sets="set", main="top")
    pooled = effects(unedited, alike, (), confidence).merge(compared, join="exact").sel(group=ALL, drop=True)
    return pooled.assign(p_all=_largest_p(unedited, alike, alone))
