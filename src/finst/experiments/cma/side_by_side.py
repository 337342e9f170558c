"""Causal mediation of several models side by side, as numbers: each stage in each model, and the order of the stages.

Relative depth is layer / (layers - 1): 0 is a model's first layer and 1 its last.
"""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.experiments.cma.head_maps import above_map, stages_of
from finst.experiments.cma.reliability import map_reliability
from finst.experiments.cma.top_heads import TopHead, largest_head, strongest_head
from finst.experiments.cma.verdict import verdict_of
from finst.report.comparison import Side
from finst.report.wording import NAMES, capital, format_p, number, runs


def last_layer(side: Side) -> int:
    """The number of a model's last layer, or 1 for a model of one layer: the divisor of relative depths."""
    return max(side.summary.sizes["layer"] - 1, 1)


@dataclass(frozen=True)
class StageRow:
    """A stage in one model, for a row of a table; a dash for unknown values."""

    label: str
    used: int
    """Number of usable pairs."""
    above: str
    layers: str
    depth: str
    """The relative depth of these layers."""
    strongest: str
    strongest_depth: str
    share: str
    """The strongest head's mean score as a percentage of the clean margin between the two answers."""
    centre: str
    """The relative depth of the stage's centre of mass, with its interval."""
    reliability: str
    found: bool


@dataclass(frozen=True)
class StepRow:
    """Whether one stage comes before the next in one model, for a row of a table."""

    label: str
    outcome: str
    style: str
    """The class of the outcome on a page."""
    layers: str
    depth: str
    """The difference of the centres as a share of the model's depth."""
    p: str
    n: str


def stage_rows(sides: Sequence[Side], stage: str) -> tuple[StageRow, ...]:
    """A row for each model."""
    return tuple(_stage_row(side, stage) for side in sides)


def _stage_row(side: Side, stage: str) -> StageRow:
    part = side.summary.sel(condition=stage)
    above = above_map(side.summary, stage)
    layers = side.summary["layer"].values[above.any(axis=1)].tolist()
    head = strongest_head(side.summary, stage)
    return StageRow(
        label=side.label,
        used=int(part["n"]),
        above=f"{int(above.sum())} of {above.size}",
        layers=runs(layers) or "–",
        depth="–".join(dict.fromkeys(number(layer / last_layer(side), 2) for layer in (layers[0], layers[-1])))
        if layers
        else "–",
        strongest=_strongest(head, largest_head(side.summary, stage)),
        strongest_depth="–" if head is None else number(head.layer / last_layer(side), 2),
        share="–" if head is None else head.share,
        centre=_interval(part, "centre_mean", "centre_low", "centre_high", last_layer(side)),
        reliability=map_reliability(side.summary, stage).reliability,
        found=bool(above.any()),
    )


def _strongest(head: TopHead | None, largest: TopHead | None) -> str:
    """The strongest head, and the one with the largest mean where that is another."""
    if head is None or largest is None:
        return "–"
    text = _mean(head) + ("" if head.above else " (not above the noise)")
    return text if head.name == largest.name else f"{text}; largest mean {_mean(largest)} (not above the noise)"


def _mean(head: TopHead) -> str:
    return f"{head.name}: {number(head.mean)} ± {number(head.standard_error)}"


def _interval(part: xr.Dataset, middle: str, low: str, high: str, scale: float = 1) -> str:
    value, *ends = (float(part[name]) / scale for name in (middle, low, high))
    return "–" if np.isnan(value) else f"{number(value, 2)} [{number(ends[0], 2)}, {number(ends[1], 2)}]"


def step_rows(sides: Sequence[Side], step: int) -> tuple[StepRow, ...]:
    """A row for each model; ``step`` is the index of a pair of neighbouring stages."""
    return tuple(_step_row(side, step) for side in sides)


def _step_row(side: Side, step: int) -> StepRow:
    verdict, part = verdict_of(side.summary).steps[step], side.summary.isel(step=step)
    if np.isnan(float(part["order_difference"])):
        return StepRow(side.label, f"{verdict.outcome}: {verdict.detail}", verdict.style, "–", "–", "–", "–")
    names = ("order_difference", "order_ci_low", "order_ci_high")
    return StepRow(
        label=side.label,
        outcome=" ".join(filter(None, (verdict.outcome, verdict.small))),
        style=verdict.style,
        layers=_interval(part, *names),
        depth=_interval(part, *names, scale=last_layer(side)),
        p=format_p(float(part["order_p"])),
        n=str(int(part["order_n"])),
    )


def steps_of(sides: Sequence[Side]) -> tuple[str, ...]:
    """The claims about the order of neighbouring stages, from early to late."""
    return tuple(capital(step.claim) for step in verdict_of(sides[0].summary).steps)


def headline(sides: Sequence[Side]) -> str:
    """The number of runs in which each stage has heads above the noise, as a sentence."""
    counts = {
        NAMES[stage]: sum(bool(above_map(side.summary, stage).any()) for side in sides)
        for stage in stages_of(sides[0].summary)
    }
    listing = ", ".join(f"{name} in {count}" for name, count in counts.items())
    return f"Heads above the noise, in how many of {len(sides)} runs: {listing}."


def table(sides: Sequence[Side]) -> list[tuple[str, ...]]:
    """The table for the terminal: a header, then a row for each stage and model."""
    rows = [("stage", "model", "above", "layers", "strongest, logits", "depth", "reliability")]
    for stage in stages_of(sides[0].summary):
        for row in stage_rows(sides, stage):
            cells = (row.above, row.layers, row.strongest, row.strongest_depth, row.reliability)
            rows.append((NAMES[stage], row.label, *cells))
    return rows
