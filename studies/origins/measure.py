"""What is measured of a model, as plain numbers; every call of an experiment is in ``summary_of``."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from finst.analysis.headsets import largest_k
from finst.builtin.organism.examine import Result, examine
from finst.builtin.organism.families import architecture_of
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.registry import experiment_of
from finst.vlm.open import VLM, open_vlm
from studies.origins.names import PEAKS, PLACEMENTS, STAGES


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    pairs: int = 50
    """Pairs of causal mediation, in each placement."""
    only_correct: bool = True
    """Leave out pairs that are answered wrongly."""
    trials: int = 48
    """Pictures to steer, half of them to choose K and dose on."""
    estimation: int = 40
    """Other pictures, that directions are estimated from."""
    ks: tuple[int, ...] = (1, 2, 3, 5, 10, 20)
    doses: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 30.0)
    draws: int = 2
    """Controls of each kind."""
    similar: int = 20
    """Trials of every object in every cell, for similarity."""
    lessons: int = 100
    """On each line of the report card."""
    resamples: int = 1000
    workers: int = 2
    """Processes that make these lessons."""


FULL = Effort()
"""For a finished model: the defaults of the experiments, as far as they matter here."""

BRIEF = Effort(pairs=30, only_correct=False, trials=24, ks=(1, 3, 10), doses=(1.0, 2.0, 5.0), draws=1, similar=10,
               lessons=20, resamples=200)  # fmt: skip
"""For a checkpoint. All pairs count: early ones answer none correctly."""

TINY = Effort(pairs=4, only_correct=False, trials=8, estimation=4, ks=(1,), doses=(2.0,), draws=1, similar=1, lessons=1,
              resamples=20, workers=0)  # fmt: skip
"""For a test."""


def summary_of(name: str, vlm: VLM, cma: xr.Dataset | None = None, **options: Any) -> xr.Dataset:
    """The summary of one experiment with an open model, in memory.

    ``cma`` is the summary of causal mediation whose heads an intervention edits. Raises FinstError as the experiment
    does, such as for a model that gets no two pairs right.
    """
    experiment = experiment_of(name)
    spec = experiment.spec(model=vlm.reader.id, device=str(vlm.device), **options)
    experiment.check(spec, vlm.reader)
    prepared = experiment.prepare(vlm, spec, None if cma is None else HeadMaps.of(cma, vlm.weights_hash))
    parts = [experiment.measure(vlm, spec, unit, prepared) for unit in experiment.plan(spec)]
    return experiment.summarise(spec, parts)


def measure(folder: Path, family: str, effort: Effort = FULL, device: str = "auto") -> dict[str, Any]:
    """All numbers of the model in ``folder``. What could not be measured is the reason why."""
    vlm = open_vlm(str(folder), device=device)
    numbers: dict[str, Any] = {"weights": vlm.weights_hash, "mediation": {}}
    cma: dict[str, xr.Dataset] = {}
    for placement in PLACEMENTS:
        try:
            cma[placement] = summary_of(
                "cma", vlm, pairs=effort.pairs, placement=placement, only_correct=effort.only_correct
            )
            numbers["mediation"][placement] = mediation_of(cma[placement])
        except FinstError as reason:
            numbers["mediation"][placement] = str(reason)
    numbers["steering"] = _steered(vlm, cma.get("prefill"), effort)
    counts: dict[str, Any] = {
        "trials": effort.similar,
        "permutations": effort.resamples,
        "bootstraps": effort.resamples,
    }
    similar = summary_of("rsa-stages", vlm, grid="2x2", objects="fresh", entropy="any", spearman=False, **counts)
    numbers["similarity"] = similarity_of(similar)
    results = examine(architecture_of(family), vlm.model, n=effort.lessons, workers=effort.workers)
    numbers["accuracy"] = accuracy_of(results)
    return numbers


def _steered(vlm: VLM, cma: xr.Dataset | None, effort: Effort) -> dict[str, Any] | str:
    if cma is None:
        return "no heads: causal mediation found no usable pairs"
    ks = tuple(k for k in effort.ks if k <= largest_k(vlm.n_layers * vlm.n_heads))
    options = {"trials": effort.trials, "estimation": effort.estimation, "doses": effort.doses, "draws": effort.draws}
    return steering_of(summary_of("photoreal", vlm, cma, ks=ks, **options))


def _rounded(values: Any, digits: int = 4) -> Any:
    """Nested lists of floats, as short as they are exact enough; None for what is not a number."""
    if isinstance(values, list):
        return [_rounded(value, digits) for value in values]
    value = float(values)
    return None if math.isnan(value) else round(value, digits)


def mediation_of(summary: xr.Dataset) -> dict[str, Any]:
    """Strongest head, sums, depth and order of the stages, and all means by head."""
    stages: dict[str, Any] = {"noise": float(summary["noise_floor"]), "right": float(summary["correct"].mean())}
    for stage in STAGES:
        part = summary.sel(condition=stage)
        means, above = part["mean"].transpose("layer", "head"), part["above"].transpose("layer", "head")
        layer, head = (int(axis) for axis in divmod(int(means.values.argmax()), means.sizes["head"]))
        strongest = part.isel(layer=layer, head=head)
        stages[stage] = {
            "layer": layer,
            "head": head,
            "logits": _rounded(strongest["mean"]),
            "low": _rounded(strongest["ci_low"]),
            "high": _rounded(strongest["ci_high"]),
            "p_fwer": _rounded(strongest["p_fwer"]),
            "above": bool(strongest["above"]),
            "heads_above": int(above.sum()),
            "summed": _rounded(means.where(above).sum()),
            "summed_all": _rounded(means.sum()),
            "median_layer": _rounded(part["median_layer"]),
            "margin": _rounded(part["margin"]),
            "n": int(part["n"]),
            "means": _rounded(means.values.tolist(), 3),
        }
    stages["order"] = [
        {
            "difference": _rounded(step["order_difference"]),
            "low": _rounded(step["order_ci_low"]),
            "high": _rounded(step["order_ci_high"]),
            "p": _rounded(step["order_p"]),
            "holds": bool(step["order_holds"]),
        }
        for step in (summary.isel(step=place) for place in range(summary.sizes["step"]))
    ]
    return stages


def steering_of(summary: xr.Dataset) -> dict[str, Any]:
    """By place (row of the canvas) and stage: the share that is moved at the K and dose chosen on the other half, and
    by controls.

    ``control`` is the best control at that K and dose, ``control_own`` the best at those chosen for it.
    """
    places = {name: _steering_at(summary.sel(place=name)) for name in summary["place"].values.tolist()}
    return {"ks": summary["k"].values.tolist(), "doses": summary["dose"].values.tolist(), "places": places}


def _steering_at(summary: xr.Dataset) -> dict[str, Any]:
    """One place, by stage."""
    stages: dict[str, Any] = {}
    for stage in STAGES:
        part = summary.sel(stage=stage)
        k, dose = (part[f"chosen_{name}"].sel(set="top").item() for name in ("k", "dose"))
        at, top = part.sel(k=k, dose=dose), part.sel(k=k, dose=dose, set="top")
        others, pooled = [name for name in part["set"].values.tolist() if name != "top"], top.sel(group="all")
        stages[stage] = {
            "k": int(k),
            "dose": float(dose),
            "heads": str(part["heads"].sel(set="top", k=k).item()),
            **{name: _rounded(pooled[name]) for name in ("before", "after", "after_low", "after_high", "p")},
            "n": int(pooled["n"]),
            "left": _rounded(top["after"].sel(group="left")),
            "right": _rounded(top["after"].sel(group="right")),
            "control": _rounded(at["after"].sel(set=others, group="all").max()),
            "control_own": _rounded(part["own_after"].sel(set=others, group="all").max()),
            "grid": _rounded(part["after"].sel(set="top", group="all").transpose("k", "dose").values.tolist(), 2),
        }
    return stages


def similarity_of(summary: xr.Dataset) -> dict[str, Any]:
    """The curves of Fig 1c with their peaks, and how many trials were answered exactly."""
    curves: dict[str, Any] = {"right": float(summary["exact"].mean()), "n": summary.sizes["trial"]}
    for role, comparison in PEAKS:
        part = summary.sel(role=role, comparison=comparison)
        layer = int(part["r"].fillna(-1).values.argmax())
        peak = part.isel(layer=layer)
        curves[f"{comparison} at {role}"] = {
            "layer": layer,
            "r": _rounded(peak["r"]),
            "low": _rounded(peak["ci_low"]),
            "high": _rounded(peak["ci_high"]),
            "curve": _rounded(part["r"].values.tolist(), 3),
        }
    return curves


def accuracy_of(results: Sequence[Result]) -> dict[str, list[int]]:
    """[right, lessons] by set of scenes and task; descriptions by number of objects and entropy, placements pooled."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for result in results:
        task = result.task
        if task.startswith("description"):
            task = task.rpartition(", ")[0]
            if result.scenes != "new scenes":
                task = "description"
        counts[f"{result.scenes}: {task}"][0] += round(result.accuracy * result.n)
        counts[f"{result.scenes}: {task}"][1] += result.n
    return dict(counts)
