"""The heads of a stage with the largest mean scores, and what is written about each."""

# ruff: noqa: RUF001  (typeset text: dashes as readers expect them)

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.experiments.cma.head_maps import above_map, mean_map
from finst.report.wording import interval, number, of_margin, percent, probability

FLIPS = "sign flips"
"""What every p of causal mediation is against."""


@dataclass(frozen=True)
class TopHead:
    """The statistics of one head in a stage; scores in logits, layer and head counted from 0."""

    layer: int
    head: int
    mean: float
    standard_error: float
    ci_low: float
    ci_high: float
    p: float
    p_fwer: float
    n: int
    above: bool
    margin: float
    """The clean margin of the stage's answers in logits; NaN where the run does not have it."""

    @property
    def name(self) -> str:
        """Such as ``L3H4``: head 4 of layer 3, both counted from 0."""
        return f"L{self.layer}H{self.head}"

    @property
    def share(self) -> str:
        """The mean as a share of the clean margin, such as ``2.0 %``; a dash where that is not known."""
        return percent(self.mean, self.margin) or "–"

    @property
    def text(self) -> str:
        """The name, and the mean with its uncertainty."""
        return (
            f"{self.name}, {number(self.mean)} ± {number(self.standard_error)} logits "
            f"{interval(self.ci_low, self.ci_high)}, {of_margin(self.mean, self.margin)}, "
            f"{probability(self.p_fwer, FLIPS, 'family-wise p')}"
        )


def top_heads(summary: xr.Dataset, stage: str, count: int) -> tuple[TopHead, ...]:
    """The heads with the largest mean score of a stage, above the noise or not; ties by layer and head."""
    usable = int(summary["n"].sel(condition=stage)) >= 1
    return _among(summary, stage, np.full(mean_map(summary, stage).shape, usable), count)


def strongest_head(summary: xr.Dataset, stage: str) -> TopHead | None:
    """The head with the largest mean among those above the noise, else among all; None without usable pairs."""
    above = _among(summary, stage, above_map(summary, stage), 1)
    return next(iter(above or top_heads(summary, stage, 1)), None)


def largest_head(summary: xr.Dataset, stage: str) -> TopHead | None:
    """The head with the largest mean of all, above the noise or not; None without usable pairs."""
    return next(iter(top_heads(summary, stage, 1)), None)


def margin_of(part: xr.Dataset) -> float:
    """The clean margin of one stage in logits; NaN in runs that do not have it."""
    return float(part["margin"]) if "margin" in part else float("nan")


def _among(summary: xr.Dataset, stage: str, among: np.ndarray, count: int) -> tuple[TopHead, ...]:
    part = summary.sel(condition=stage)
    means = np.where(among, mean_map(summary, stage), -np.inf)
    places = np.argsort(-means, axis=None, kind="stable")[: min(count, np.count_nonzero(among))]
    return tuple(_head(part, *divmod(int(place), means.shape[1])) for place in places)


def _head(part: xr.Dataset, layer: int, head: int) -> TopHead:
    at = part.isel(layer=layer, head=head)
    values = {key: float(at[key]) for key in ("mean", "standard_error", "ci_low", "ci_high", "p", "p_fwer")}
    return TopHead(
        layer=int(at["layer"]),
        head=int(at["head"]),
        n=int(part["n"]),
        above=bool(at["above"]),
        margin=margin_of(part),
        **values,
    )
