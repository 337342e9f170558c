"""The figures of causal mediation of several models side by side, on common scales."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from finst.experiments.cma.figures import (
    STATISTICS,
    draw_scores,
    draw_stages,
    largest_above,
    largest_score,
    one_sided_bar,
    score_bar,
)
from finst.experiments.cma.head_maps import stages_of
from finst.experiments.cma.side_by_side import last_layer
from finst.report.comparison import Side
from finst.report.curves import Pen, curve
from finst.report.figures import FAINT, INK, NamedFigure, canvas, styled
from finst.report.tables import tidy
from finst.report.wording import NAMES, capital, level_of

MAP_WIDTH = 3.6
"""The width of one model's map in inches."""

HUES = (INK, "#CC79A7", "#E69F00", "#56B4E9")
"""The colours of models: those of Okabe and Ito's colours that no stage has."""

LINES = (("o", ()), ("s", (5.0, 1.5)), ("^", (1.2, 1.2)), ("D", (6.0, 1.5, 1.0, 1.5)))
"""Markers and dashes of models; models with the same colour have different ones."""


@styled
def side_figures(sides: Sequence[Side]) -> tuple[NamedFigure, ...]:
    """All figures, in the order of the page."""
    return maps(sides), panels(sides), depths(sides)


def side_table(sides: Sequence[Side], variables: list[str]) -> str:
    """The tidy tables of all models below one another, as CSV, with the model in the first column."""
    tables = [tidy(side.summary.expand_dims(model=[side.label]), variables) for side in sides]
    return "".join([tables[0], *(text.partition("\n")[2] for text in tables[1:])])


def _height(sides: Sequence[Side]) -> float:
    """The height of a map in inches."""
    return 0.7 + min(4.0, 0.2 * max(side.summary.sizes["head"] for side in sides))


def maps(sides: Sequence[Side]) -> NamedFigure:
    """Fig 1d for each model: the heads above the noise, with one scale per stage for all models."""
    stages, summaries = stages_of(sides[0].summary), [side.summary for side in sides]
    tops = {stage: largest_above(summaries, stage) for stage in stages}
    figure = canvas(MAP_WIDTH * len(sides), _height(sides) + 0.9)
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[_height(sides), 0.7])
    for axes, side in zip(np.ravel(above.subplots(1, len(sides))), sides, strict=True):
        draw_stages(axes, side.summary, mark=0.85, tops=tops)
        axes.set_title(side.label, pad=18)
    for scale, stage in zip(below.subplots(1, len(stages)), stages, strict=True):
        scale.set_box_aspect(0.06)
        one_sided_bar(figure, scale, summaries, stage)
    return NamedFigure(
        name="maps",
        title="The stages in every model",
        caption=(
            "Every attention head of each model. Colour and marker show in which stage a head is above the noise. "
            "Intensity is its mean score, on one scale per stage for all models, from zero (white) to the largest in "
            "any of them. Heads that are not above the noise are white and unmarked, whatever their mean."
        ),
        figure=figure,
        csv=side_table(sides, ["mean", "p_fwer", "above"]),
    )


def panels(sides: Sequence[Side]) -> NamedFigure:
    """One diverging map per condition and model; models side by side, with one scale per condition."""
    stages, summaries = stages_of(sides[0].summary), [side.summary for side in sides]
    floor = max(float(summary["noise_floor"]) for summary in summaries)
    figure = canvas(MAP_WIDTH * len(sides) + 0.6, (_height(sides) + 0.2) * len(stages))
    rows = figure.subplots(len(stages), len(sides), squeeze=False)
    for row, stage in zip(rows, stages, strict=True):
        limit = largest_score(summaries, stage)
        mesh = None
        for axes, side in zip(row, sides, strict=True):
            mesh = draw_scores(axes, side.summary, stage, limit)
            axes.set_title(f"{capital(NAMES[stage])}, {side.label}", pad=14)
            axes.set_ylabel("head" if axes is row[0] else "")
            axes.set_xlabel("layer" if stage == stages[-1] else "")
        assert mesh is not None
        score_bar(figure.colorbar(mesh, ax=list(row), aspect=14, pad=0.02), limit, floor)
    return NamedFigure(
        name="panels",
        title="One map per condition and model",
        caption=(
            "Mean score of every head, on one scale per condition for all models, symmetric about zero (palest). "
            "Solid outlines: above the noise in that model; dashed: the same with a negative mean. Where models have "
            "logits of different sizes, equal effects have scores of different sizes: a pale map may be as clear as "
            "a deep one. Compare outlines and reliability instead."
        ),
        figure=figure,
        csv=side_table(sides, [*STATISTICS, "n"]),
    )


def depths(sides: Sequence[Side]) -> NamedFigure:
    """The stages by relative depth, one curve per model."""
    stages = stages_of(sides[0].summary)
    figure = canvas(7.2, 1.5 * len(stages) + 0.6)
    panels = figure.subplots(len(stages), 1, sharex=True)
    for axes, stage in zip(panels, stages, strict=True):
        axes.axhline(0, color=FAINT, lw=0.8, zorder=1)
        for place, side in enumerate(sides):
            _draw_depth(axes, side, stage, place)
        axes.set_title(capital(NAMES[stage]), pad=2)
        axes.margins(x=0.02)
    figure.supylabel("score, mean over heads (logits)", fontsize=8)
    panels[-1].set_xlabel("relative depth (0: first layer, 1: last)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, handlelength=2.6)
    shown = ["layer_mean", "layer_ci_low", "layer_ci_high", "centre_mean", "depth"]
    with_depth = [
        replace(side, summary=side.summary.assign(depth=("layer", side.summary["layer"].values / last_layer(side))))
        for side in sides
    ]
    return NamedFigure(
        name="depths",
        title="The stages by relative depth",
        caption=(
            "Mean score over all heads of a layer, at layer / (layers − 1), with its "
            f"{level_of(sides[0].summary)} bootstrap interval over pairs (shaded). Hollow markers: no head of the "
            "layer is above the noise. Ticks at the bottom: centre of mass of the heads above the noise. Scales "
            "differ between the stages."
        ),
        figure=figure,
        csv=side_table(with_depth, shown),
    )


def _draw_depth(axes: Axes, side: Side, stage: str, place: int) -> None:
    part = side.summary.sel(condition=stage)
    pen = Pen(HUES[place % 4], *LINES[(place + place // 4) % 4])
    placed = part.assign_coords(layer=part["layer"] / last_layer(side))
    ends = {"low": placed["layer_ci_low"], "high": placed["layer_ci_high"]}
    curve(axes, placed["layer_mean"], pen, side.label, solid=placed["above"].any("head"), **ends)
    if part["centre_mean"].notnull():
        centre = float(part["centre_mean"]) / last_layer(side)
        axes.plot(
            [centre],
            [0],
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            zorder=4,
            ls="",
            marker="|",
            ms=11,
            mew=2,
            color=pen.colour,
        )
