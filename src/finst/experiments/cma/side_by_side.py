"""Causal mediation of several models side by side, as numbers: what each stage is in each, and in which order.

Layers are also given as relative depth, layer / (layers - 1): 0 is a model's first layer and 1 its last.
"""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.experiments.cma.reliability import trust_of
from finst.experiments.cma.verdict import strongest_head, verdict_of
from finst.report.comparison import Side
from finst.report.wording import NAMES, capital, format_p, number, runs


def deepest(side: Side) -> int:
    """A model's last layer; 1 for a model of one layer, so that depths can be divided by it."""
    return max(side.summary.sizes["layer"] - 1, 1)


@dataclass(frozen=True)
class StageRow:
    """A stage in one model, for a row of a table; a dash for what is not known."""

    label: str
    used: int
    """Pairs."""
    above: str
    layers: str
    depth: str
    """Of these layers, relative."""
    strongest: str
    strongest_depth: str
    share: str
    """The strongest head's mean score as a share of the clean margin between the two answers."""
    centre: str
    """Relative depth of the stage's centre of mass."""
    reliability: str
    found: bool


@dataclass(frozen=True)
class StepRow:
    """Whether one stage comes before the next in one model, for a row of a table."""

    label: str
    outcome: str
    holds: bool | None
    layers: str
    depth: str
    """The difference of the centres as a share of the model's depth."""
    p: str
    n: str


def stage_rows(sides: Sequence[Side], stage: str) -> tuple[StageRow, ...]:
    """One a model."""
    return tuple(_stage_row(side, stage) for side in sides)


def _stage_row(side: Side, stage: str) -> StageRow:
    part = side.summary.sel(condition=stage)
    above = part["above"].transpose("layer", "head").values
    layers = side.summary["layer"].values[above.any(axis=1)].tolist()
    head = strongest_head(side.summary, stage)
    margin = float(part["margin"])
    return StageRow(
        label=side.label,
        used=int(part["n"]),
        above=f"{int(above.sum())} of {above.size}",
        layers=runs(layers) or "–",
        depth="–".join(dict.fromkeys(number(layer / deepest(side), 2) for layer in (layers[0], layers[-1])))
        if layers
        else "–",
        strongest="–"
        if head is None
        else f"{head.name}: {number(head.mean)} ± {number(head.standard_error)}"
        + ("" if head.above else " (not above the noise)"),
        strongest_depth="–" if head is None else number(head.layer / deepest(side), 2),
        share="–" if head is None or not margin > 0 else f"{number(100 * head.mean / margin, 0)} %",
        centre=_interval(part, "centre_mean", "centre_low", "centre_high", deepest(side)),
        reliability=trust_of(side.summary, stage).reliability,
        found=bool(above.any()),
    )


def _interval(part: xr.Dataset, middle: str, low: str, high: str, scale: float = 1) -> str:
    value, *ends = (float(part[name]) / scale for name in (middle, low, high))
    return "–" if np.isnan(value) else f"{number(value, 2)} [{number(ends[0], 2)}, {number(ends[1], 2)}]"


def step_rows(sides: Sequence[Side], step: int) -> tuple[StepRow, ...]:
    """One a model; ``step`` counts pairs of neighbouring stages."""
    return tuple(_step_row(side, step) for side in sides)


def _step_row(side: Side, step: int) -> StepRow:
    said, part = verdict_of(side.summary).steps[step], side.summary.isel(step=step)
    if said.holds is None:
        return StepRow(side.label, f"not testable: {said.detail}", None, "–", "–", "–", "–")
    names = ("order_difference", "order_ci_low", "order_ci_high")
    return StepRow(
        label=side.label,
        outcome="holds" if said.holds else "does not hold",
        holds=said.holds,
        layers=_interval(part, *names),
        depth=_interval(part, *names, scale=deepest(side)),
        p=format_p(float(part["order_p"])),
        n=str(int(part["order_n"])),
    )


def steps_of(sides: Sequence[Side]) -> tuple[str, ...]:
    """What is claimed of neighbouring stages, from early to late."""
    return tuple(capital(step.claim) for step in verdict_of(sides[0].summary).steps)


def headline(sides: Sequence[Side]) -> str:
    """In how many of the runs each stage has heads above the noise."""
    counts = {
        NAMES[key]: sum(bool(side.summary["above"].sel(condition=key).any()) for side in sides)
        for key in sides[0].summary["condition"].values.tolist()
    }
    said = ", ".join(f"{name} in {count}" for name, count in counts.items())
    return f"Of {len(sides)} runs, heads above the noise: {said}."


def table(sides: Sequence[Side]) -> list[tuple[str, ...]]:
    """For the terminal: a header, then a row a stage and model."""
    rows = [("stage", "model", "above", "layers", "strongest, logits", "depth", "reliability")]
    for key in sides[0].summary["condition"].values.tolist():
        for row in stage_rows(sides, key):
            cells = (row.above, row.layers, row.strongest, row.strongest_depth, row.reliability)
            rows.append((NAMES[key], row.label, *cells))
    return rows
