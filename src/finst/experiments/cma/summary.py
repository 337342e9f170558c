"""From measured pairs to statistics: what causal mediation says about each head, each stage and their order."""

from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np
import xarray as xr

from finst.analysis import mediation, statistics
from finst.analysis.headsets import top_k
from finst.analysis.mediation import Depth, OrderStep, StageMap
from finst.analysis.reliability import split_half
from finst.experiments.cma.spec import CMASpec, Logits
from finst.experiments.units import documented

DIGITS: dict[Logits, int | None] = {"exact": None, "bfloat16": mediation.BFLOAT16_DIGITS}
"""Binary digits that the logits were rounded to."""

TOP_SETS = (5, 10, 20, 50, 100, 200, 500)
"""Sizes of sets of the strongest heads for which ties are reported."""

DOCUMENTATION = {
    "n": ("pairs", "usable pairs"),
    "dropped_clean": ("pairs", "pairs dropped because the clean context was answered wrongly"),
    "dropped_source": ("pairs", "pairs dropped because the source context alone was answered wrongly"),
    "mean": ("logits", "mean score over usable pairs"),
    "standard_error": ("logits", "standard error of the mean score"),
    "ci_low": ("logits", "lower end of the bootstrap interval of the mean"),
    "ci_high": ("logits", "upper end of the bootstrap interval of the mean"),
    "t": ("1", "Student's t of the mean score"),
    "p": ("1", "two-sided sign-flip p of the head by itself"),
    "p_fwer": ("1", "family-wise p over the condition's map, by the largest |t|"),
    "p_fdr": ("1", "false discovery rate (Benjamini and Hochberg) at which the head is found in the condition's map"),
    "above": ("1", "head above the noise: p_fwer < alpha, mean positive and larger than the numerical noise"),
    "below": ("1", "the same with a negative mean"),
    "split_half": ("1", "correlation over heads of the mean maps of two random halves of the pairs"),
    "reliability": ("1", "of the mean map, from split_half by Spearman and Brown's formula"),
    "reliability_low": ("1", "lower end of its interval over random halves"),
    "reliability_high": ("1", "upper end of its interval over random halves"),
    "cut_tied": ("heads", "heads within the numerical noise of the one at the cut of the top set, itself included"),
    "cut_inside": ("heads", "how many of these the top set takes"),
    "noise_floor": ("logits", "numerical noise of a score: the largest one seen, and no less than the logits resolve"),
    "margin": ("logits", "mean over usable pairs of M(c1)[a1] - M(c1)[a1*]: what a score would have to undo"),
    "margin_error": ("logits", "its standard error"),
    "centre": ("layers", "mean layer of the stage's heads above the noise, weighted by positive scores"),
    "centre_mean": ("layers", "mean of the pairs' centres"),
    "centre_low": ("layers", "lower end of its bootstrap interval"),
    "centre_high": ("layers", "upper end of its bootstrap interval"),
    "median_layer": ("layers", "first layer at which half of the summed means of the heads above the noise is reached"),
    "median_low": ("layers", "lower end of its bootstrap interval"),
    "median_high": ("layers", "upper end of its bootstrap interval"),
    "layer_mean": ("logits", "score averaged over the heads of a layer"),
    "layer_ci_low": ("logits", "lower end of its bootstrap interval"),
    "layer_ci_high": ("logits", "upper end of its bootstrap interval"),
    "order_n": ("pairs", "pairs in which both stages are somewhere"),
    "order_difference": ("layers", "later minus earlier stage: mean difference of their centres"),
    "order_ci_low": ("layers", "lower end of its bootstrap interval"),
    "order_ci_high": ("layers", "upper end of its bootstrap interval"),
    "order_p": ("1", "two-sided sign-flip p of the difference"),
    "order_holds": ("1", "the difference is positive and p < alpha"),
    "order_untestable": ("1", "why there is no test; empty where there is one"),
}


def statistics_of(spec: CMASpec, data: xr.Dataset) -> xr.Dataset:
    """``data`` (dims pair, condition, layer, head; with ``score``, ``noise``, ``usable``) and all statistics of it.

    Adds what ``DOCUMENTATION`` lists; ``step`` is the dim of neighbouring stages, from early to late, ``cut``
    that of sizes of top sets.
    """
    floor = max(float(data["noise"].max()), mediation.resolution(data["unedited_logits"].values, DIGITS[spec.logits]))
    stages, profiles, centres, depths, margins, halves = {}, {}, {}, {}, {}, {}
    bootstraps = {"alpha": spec.alpha, "resamples": spec.bootstraps, "seed": spec.seed}
    settings = {"permutations": spec.permutations, **bootstraps}
    for name in mediation.STAGES:
        scores = data["score"].sel(condition=name).transpose("pair", "layer", "head").values
        usable = data["usable"].sel(condition=name).values
        stages[name] = mediation.stage_map(scores[usable], noise=floor, **settings)
        profiles[name] = _profile(spec, scores[usable])
        centre = mediation.centre_of_mass(scores, stages[name].above)
        centres[name] = np.where(usable, centre, np.nan)
        depths[name] = mediation.depth(scores[usable], stages[name].above, **bootstraps)
        margins[name] = _margin(data.sel(condition=name), usable)
        halves[name] = split_half(scores[usable], confidence=1 - spec.alpha, seed=spec.seed)
    steps = mediation.order_steps(centres, **settings)
    clean = data["correct"].sel(context="clean").values
    usable = data["usable"].transpose("condition", "pair").values
    summary = data.assign(
        {
            **{f.name: _by_condition(stages, f.name) for f in fields(StageMap)},
            **{f"layer_{key}": (("condition", "layer"), values) for key, values in _stacked(profiles).items()},
            "centre": (("condition", "pair"), np.stack([centres[name] for name in mediation.STAGES])),
            **{f.name: ("condition", [getattr(depths[s], f.name) for s in mediation.STAGES]) for f in fields(Depth)},
            "margin": ("condition", [margins[name][0] for name in mediation.STAGES]),
            "margin_error": ("condition", [margins[name][1] for name in mediation.STAGES]),
            "split_half": ("condition", [halves[name].r for name in mediation.STAGES]),
            "reliability": ("condition", [halves[name].reliability for name in mediation.STAGES]),
            "reliability_low": ("condition", [halves[name].low for name in mediation.STAGES]),
            "reliability_high": ("condition", [halves[name].high for name in mediation.STAGES]),
            **_cuts(stages, floor),
            "noise_floor": ((), floor),
            "dropped_clean": ("condition", (~clean & ~usable).sum(axis=1)),
            "dropped_source": ("condition", (clean & ~usable).sum(axis=1)),
            **{f"order_{f.name}": ("step", [getattr(s, f.name) for s in steps]) for f in fields(OrderStep)},
        }
    ).set_coords(["order_earlier", "order_later"])
    documented(summary, DOCUMENTATION)
    return summary.assign_attrs(asdict(spec))


def _cuts(stages: dict[str, StageMap], floor: float) -> dict[str, tuple[tuple[str, ...], object]]:
    """Ties at the cuts of top sets of several sizes, those that the map has."""
    maps = [stages[name].mean for name in mediation.STAGES]
    sizes = [size for size in TOP_SETS if size < maps[0].size]
    tops = [[top_k(means, size, tolerance=floor) for size in sizes] for means in maps]
    counts = np.array([[(top.tied, top.tied_inside) for top in row] for row in tops], dtype=np.int64)
    counts = counts.reshape(len(maps), len(sizes), 2)
    dims = ("condition", "cut")
    return {"cut": (("cut",), sizes), "cut_tied": (dims, counts[..., 0]), "cut_inside": (dims, counts[..., 1])}


def _margin(part: xr.Dataset, usable: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of the clean preference of a1 over a1*; NaN where there are too few pairs for it."""
    logits = part["unedited_logits"].astype(np.float64)
    kept, other = (logits.sel(colour=part[answer].item()).values for answer in ("original", "counterfactual"))
    margin = (kept - other)[usable]
    if len(margin) < 2:
        return float(margin.mean()) if len(margin) else float("nan"), float("nan")
    return float(statistics.mean(margin)), float(statistics.standard_error(margin))


def _by_condition(stages: dict[str, StageMap], field: str) -> tuple[tuple[str, ...], np.ndarray]:
    values = np.stack([np.asarray(getattr(stages[name], field)) for name in mediation.STAGES])
    return ("condition", "layer", "head")[: values.ndim], values


def _profile(spec: CMASpec, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Mean over a layer's heads, with its interval over pairs."""
    layers = scores.mean(axis=2)
    if len(layers) < 2:
        unknown = np.full(layers.shape[1], np.nan)
        return {"mean": layers[0] if len(layers) else unknown, "ci_low": unknown, "ci_high": unknown}
    low, high = statistics.bootstrap_ci(layers, confidence=1 - spec.alpha, resamples=spec.bootstraps, seed=spec.seed)
    return {"mean": statistics.mean(layers), "ci_low": low, "ci_high": high}


def _stacked(profiles: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.stack([profiles[name][key] for name in mediation.STAGES]) for key in ("mean", "ci_low", "ci_high")}
