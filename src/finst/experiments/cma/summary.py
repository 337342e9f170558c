"""Statistics of causal mediation: for each head, for each stage, and for the order of the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from finst.analysis import mediation, statistics
from finst.analysis.headsets import top_k
from finst.analysis.mediation import OrderStep
from finst.analysis.reliability import split_half
from finst.experiments.cma.spec import CMASpec, Logits
from finst.experiments.units import documented, spec_attrs

DIGITS: dict[Logits, int | None] = {"exact": None, "bfloat16": mediation.BFLOAT16_DIGITS}
"""Binary digits to which the logits were rounded; None for those of their own format."""

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
    """``data`` (dims pair, condition, layer, head; with ``score``, ``noise``, ``usable``) with the statistics added.

    ``DOCUMENTATION`` lists them. The dim ``step`` runs over neighbouring stages, from early to late, and ``cut`` over
    sizes of top sets.
    """
    floor = max(float(data["noise"].max()), mediation.resolution(data["unedited_logits"].values, DIGITS[spec.logits]))
    sizes = [size for size in TOP_SETS if size < data.sizes["layer"] * data.sizes["head"]]
    stages = {name: _stage(spec, data.sel(condition=name), floor, sizes) for name in mediation.STAGES}
    centres = {name: values["centre"] for name, values in stages.items()}
    steps = mediation.order_steps(centres, permutations=spec.permutations, **_resampling(spec))
    clean = data["correct"].sel(context="clean").values
    usable = data["usable"].transpose("condition", "pair").values
    summary = data.assign(
        {
            **_by_condition(list(stages.values())),
            "cut": ("cut", sizes),
            "noise_floor": ((), floor),
            "dropped_clean": ("condition", (~clean & ~usable).sum(axis=1)),
            "dropped_source": ("condition", (clean & ~usable).sum(axis=1)),
            **{f"order_{f.name}": ("step", [getattr(s, f.name) for s in steps]) for f in fields(OrderStep)},
        }
    ).set_coords(["order_earlier", "order_later"])
    return documented(summary, DOCUMENTATION).assign_attrs(spec_attrs(spec))


def _resampling(spec: CMASpec) -> dict[str, Any]:
    return {"alpha": spec.alpha, "resamples": spec.bootstraps, "seed": spec.seed}


def _stage(spec: CMASpec, part: xr.Dataset, floor: float, sizes: Sequence[int]) -> dict[str, np.ndarray]:
    """The statistics of one condition by name, with the axes of ``AXES``."""
    scores = part["score"].transpose("pair", "layer", "head").values
    usable = part["usable"].values
    used = scores[usable]
    heads = mediation.stage_map(used, noise=floor, permutations=spec.permutations, **_resampling(spec))
    depth = mediation.depth(used, heads.above, **_resampling(spec))
    half = split_half(used, confidence=1 - spec.alpha, seed=spec.seed)
    margin, margin_error = _margin(part, usable)
    tops = [top_k(heads.mean, size, tolerance=floor) for size in sizes]
    values = {
        **{field.name: getattr(result, field.name) for result in (heads, depth) for field in fields(result)},
        **_profile(spec, used),
        "centre": np.where(usable, mediation.centre_of_mass(scores, heads.above), np.nan),
        "margin": margin,
        "margin_error": margin_error,
        "split_half": half.r,
        "reliability": half.reliability,
        "reliability_low": half.low,
        "reliability_high": half.high,
        "cut_tied": np.array([top.tied for top in tops], dtype=np.int64),
        "cut_inside": np.array([top.tied_inside for top in tops], dtype=np.int64),
    }
    return {name: np.asarray(value) for name, value in values.items()}


AXES = {
    "centre": ("pair",),
    **dict.fromkeys(("layer_mean", "layer_ci_low", "layer_ci_high"), ("layer",)),
    **dict.fromkeys(("cut_tied", "cut_inside"), ("cut",)),
}
"""Dims of statistics that are neither single numbers nor maps of layers and heads."""


def _by_condition(stages: Sequence[dict[str, np.ndarray]]) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """The statistics of all conditions with their dims."""
    stacked = {name: np.stack([stage[name] for stage in stages]) for name in stages[0]}
    return {
        name: (("condition", *AXES.get(name, ("layer", "head")[: values.ndim - 1])), values)
        for name, values in stacked.items()
    }


def clean_margins(part: xr.Dataset) -> Float[np.ndarray, "pair"]:
    """M(c1)[a1] - M(c1)[a1*] of every pair of one condition, in logits: what a score would have to undo."""
    logits = part["unedited_logits"].astype(np.float64)
    kept, other = (logits.sel(colour=part[answer].item()).values for answer in ("original", "counterfactual"))
    return kept - other


def _margin(part: xr.Dataset, usable: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of the clean margin of a1 over a1*; NaN where there are too few pairs."""
    margin = clean_margins(part)[usable]
    if len(margin) < 2:
        return float(margin.mean()) if len(margin) else float("nan"), float("nan")
    return float(statistics.mean(margin)), float(statistics.standard_error(margin))


def _profile(spec: CMASpec, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Mean over each layer's heads, with its interval over pairs."""
    layers = scores.mean(axis=2)
    if len(layers) < 2:
        unknown = np.full(layers.shape[1], np.nan)
        return {
            "layer_mean": layers[0] if len(layers) else unknown,
            "layer_ci_low": unknown,
            "layer_ci_high": unknown,
        }
    low, high = statistics.bootstrap_ci(layers, confidence=1 - spec.alpha, resamples=spec.bootstraps, seed=spec.seed)
    return {"layer_mean": statistics.mean(layers), "layer_ci_low": low, "layer_ci_high": high}
