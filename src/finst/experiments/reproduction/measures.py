"""The numbers by which a choice's effect on a curve or map is measured, without and with the choice."""

# ruff: noqa: RUF001  (typeset text: apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from finst.analysis import curve_metrics as metrics
from finst.analysis import mediation, statistics
from finst.experiments.cma.head_maps import mean_map
from finst.experiments.reproduction.shift import Estimate
from finst.report.wording import NAMES

TOP = 20
"""Size of the top set at whose cut ties are counted: the paper's for Fig 4."""

Compared = tuple[str, Estimate, Estimate]
"""What a number measures, and the number without and with a choice."""

Measure = Callable[[xr.Dataset, xr.Dataset], Compared]
"""Computes the number from the summaries without and with a choice."""


def _curve(summary: xr.Dataset, comparison: str) -> xr.Dataset:
    """r at the last token over layers, with its interval."""
    return summary[["r", "ci_low", "ci_high"]].sel(role="last", comparison=comparison)


def _estimate(part: xr.Dataset, measure: Callable[[np.ndarray], float] = float) -> Estimate:
    """A number of a curve, and the same number of the curves through the ends of its intervals."""
    return Estimate(*(measure(part[name].values) for name in ("r", "ci_low", "ci_high")))


def early_features(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """r with the target's features at the last token, mean over the first third of layers."""
    before, after = (_curve(summary, "features") for summary in (without, with_))
    depths = " → ".join(f"{metrics.valley(part['r'].values):.2f}" for part in (before, after))
    quantity = f"r with features at the last token, mean of the first third of layers (deepest valley {depths})"
    return quantity, _estimate(before, metrics.early), _estimate(after, metrics.early)


def position_peak(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """r with the target's position at the last token, in the layer where it is largest."""

    def peak(summary: xr.Dataset) -> Estimate:
        part = _curve(summary, "position")
        return _estimate(part.isel(layer=int(part["r"].argmax("layer"))))

    return "r with position at the last token, in its best layer", peak(without), peak(with_)


def interval_width(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """Width of the interval of r with the target's position, mean over layers."""

    def width(summary: xr.Dataset) -> Estimate:
        part = _curve(summary, "position")
        return Estimate(float((part["ci_high"] - part["ci_low"]).mean()))

    quantity = "width of the interval of r with position at the last token, mean over layers"
    return quantity, width(without), width(with_)


def largest_change(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """r at the last token, in the layer and with the comparison (position or features) that change most."""
    comparisons = ["position", "features"]
    curves = [summary.sel(role="last", comparison=comparisons) for summary in (without, with_)]
    before, after = (part[["r", "ci_low", "ci_high"]].transpose("layer", "comparison") for part in curves)
    layer, which = divmod(int(np.argmax(abs(after["r"].values - before["r"].values))), len(comparisons))
    quantity = f"r at the last token where it changes most, with {comparisons[which]} in layer {layer}"
    first, second = (_estimate(part.isel(layer=layer, comparison=which)) for part in (before, after))
    return quantity, first, second


def _resampled(summary: xr.Dataset, stage: str, measure: Callable[[np.ndarray], float]) -> Estimate:
    """A number of a mean map with its bootstrap interval over pairs."""
    part = summary.sel(condition=stage)
    scores = part["score"].transpose("pair", "layer", "head").values[part["usable"].values]
    value = measure(mean_map(summary, stage))
    if len(scores) < 2:
        return Estimate(value)
    attrs = summary.attrs
    maps = statistics.resampled_means(scores, resamples=attrs["bootstraps"], seed=attrs["seed"])
    low, high = np.nanquantile([measure(resampled) for resampled in maps], statistics.tails(1 - attrs["alpha"]))
    return Estimate(value, float(low), float(high))


def retrieval_layer(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """Mean layer of ID retrieval's positive scores."""
    selection = metrics.mean_layer(mean_map(without, "id_selection"))
    quantity = f"mean layer of ID retrieval’s positive scores (of ID selection’s: {selection:.2f})"
    before, after = (_resampled(summary, "id_retrieval", metrics.mean_layer) for summary in (without, with_))
    return quantity, before, after


def map_likeness(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """Correlation with the baseline's maps. The interval of the baseline comes from resampling its own pairs."""
    correlations = []
    for stage in mediation.STAGES:
        baseline = mean_map(without, stage)
        resampled = _resampled(without, stage, lambda scores, baseline=baseline: metrics.likeness(scores, baseline))
        correlations.append((resampled.span[0], metrics.likeness(mean_map(with_, stage), baseline)))
    low, after = (float(value) for value in np.mean(correlations, axis=0))
    return "correlation with the baseline’s maps, mean of the stages", Estimate(1.0, low, 1.0), Estimate(after)


def resolved_heads(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """Number of heads whose score is larger than the numerical noise."""
    before, after = (Estimate(float((abs(s["mean"]) > s["noise_floor"]).sum())) for s in (without, with_))
    floors = " → ".join(f"{float(s['noise_floor']):.1g}" for s in (without, with_))
    quantity = f"heads of all maps with a score beyond the numerical noise ({floors} logits)"
    return quantity, before, after


def ties_at_the_cut(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """Number of heads whose score equals that of the last head of a top set, in the stage with the most of them."""
    heads = with_["mean"].isel(condition=0).size
    k = min(TOP, heads // 2)
    tied = [{stage: metrics.exact_ties(mean_map(s, stage), k) for stage in mediation.STAGES} for s in (without, with_)]
    worst = max(mediation.STAGES, key=lambda stage: tied[1][stage][0])
    values = mean_map(with_, worst)
    quantity = (
        f"heads that tie exactly at the cut of the top {k} of {NAMES[worst]}, "
        f"{tied[1][worst][1]} of them taken ({metrics.distinct(values)} different scores, "
        f"{int((values == 0).sum())} of {heads} heads exactly 0)"
    )
    before, after = (Estimate(float(counts[worst][0])) for counts in tied)
    return quantity, before, after
