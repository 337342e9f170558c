"""The figures of the study of choices: curves and maps with and without each choice of another reproduction."""

# ruff: noqa: RUF001  (typeset text: dashes and apostrophes as readers expect them)
from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from finst.analysis.curve_metrics import exact_ties, mass_by_layer
from finst.experiments.cma.figures import FRAME, STAGE_COLOURS, edges
from finst.experiments.cma.head_maps import mean_map, stages_of
from finst.report.curves import BLUE, GREEN, ORANGE, PURPLE, Pen, curve, over_layers
from finst.report.figures import FAINT, INK, NamedFigure, canvas, styled, ticks
from finst.report.tables import tidy
from finst.report.wording import NAMES, capital, level_of, number

Summaries = Mapping[str, xr.Dataset]
"""Summaries by the names of the choices; the first is the baseline."""

GREY = Pen("#6b7280", "", (2.5, 1.5))

CURVES = {"position": ORANGE, "features": GREEN}


@styled
def discrepancy_figures(curves: Summaries, maps: Summaries, top: int) -> tuple[NamedFigure, ...]:
    """All figures, from summaries of ``rsa-stages`` (``curves``) and ``cma`` (``maps``).

    ``top`` is the size of the top set at whose cut ties are shown.
    """
    return curve_panels(curves), map_panels(maps, top), retrieval_layers(maps), ranks(maps, top)


def _joined(summaries: Summaries, variables: list[str]) -> xr.Dataset:
    """Variables of all summaries along a new dim ``choice``, without coordinates that have no dim of their own."""
    parts = [summary[variables].reset_coords(drop=True) for summary in summaries.values()]
    return xr.concat(parts, xr.DataArray(list(summaries), dims="choice", name="choice"), join="exact")


def _title(axes: Axes, name: str, width: int = 26) -> None:
    axes.set_title(textwrap.fill(capital(name), width), fontsize=8)


def curve_panels(summaries: Summaries) -> NamedFigure:
    """One panel per choice: position and features at the last token, with the choice in colour, without it in grey."""
    (_, baseline), *others = summaries.items()
    columns = min(4, len(others) + 1)
    rows = -(-(len(others) + 1) // columns)
    figure = canvas(7.6, 0.5 + 1.95 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (name, summary) in zip(panels, others, strict=False):
        for comparison, pen in CURVES.items():
            before = baseline["r"].sel(role="last", comparison=comparison)
            axes.plot(before["layer"], before, **_without(pen), zorder=2)
            part = summary.sel(role="last", comparison=comparison)
            curve(axes, part["r"], pen, comparison, low=part["ci_low"], high=part["ci_high"])
        over_layers(axes, summary.sizes["layer"])
        axes.set_xlabel("")
        _title(axes, name)
    for axes in panels[len(others) :]:
        axes.axis("off")
    key = panels[len(others)]
    for comparison, pen in CURVES.items():
        key.plot([], [], **_without(pen), label=f"{comparison}, without it")
    handles = [*panels[0].get_legend_handles_labels()[0], *key.get_legend_handles_labels()[0]]
    key.legend(handles=handles, loc="center left", bbox_to_anchor=(-0.05, 0.5), handlelength=2.6)
    figure.supxlabel("layer", fontsize=8)
    figure.supylabel("Pearson r at the last token", fontsize=8)
    return NamedFigure(
        name="curves",
        title="Similarity with position and features, one choice at a time",
        caption=(
            "Correlation over all pairs of trials between the cosine similarity of activations at the last token and "
            "the similarity of the target’s position or features. Colour, filled markers: with the choice in the title "
            f"(band: {level_of(baseline)} bootstrap interval over trials). Grey, hollow markers: without it."
        ),
        figure=figure,
        csv=tidy(_joined(summaries, ["r", "ci_low", "ci_high", "p_fwer"]), ["r", "ci_low", "ci_high", "p_fwer"]),
    )


def _without(pen: Pen) -> dict[str, Any]:
    """The style of the same curve in the baseline: grey, with hollow markers."""
    return {
        "color": GREY.colour,
        "ls": pen.line,
        "lw": 1.0,
        "marker": pen.marker,
        "ms": 2.8,
        "mfc": "white",
        "mew": 0.7,
    }


def map_panels(summaries: Summaries, top: int) -> NamedFigure:
    """One row per choice, one column per stage: positive mean scores, with the heads that tie at a top set's cut."""
    baseline = next(iter(summaries.values()))
    stages, layers, heads = stages_of(baseline), baseline.sizes["layer"], baseline.sizes["head"]
    height = float(np.clip(0.09 * heads, 0.65, 2.2))
    figure = canvas(7.6, 0.5 + (height + 0.28) * len(summaries))
    panels = figure.subplots(len(summaries), len(stages), sharex=True, sharey=True, squeeze=False)
    for row, (name, summary) in zip(panels, summaries.items(), strict=True):
        for axes, stage in zip(row, stages, strict=True):
            _map_panel(axes, mean_map(summary, stage), STAGE_COLOURS[stage], top)
        row[0].set_ylabel(textwrap.fill(name, 14), rotation=0, ha="right", va="center", fontsize=7.5)
        row[0].set_yticks([])
    for axes, stage in zip(panels[0], stages, strict=True):
        axes.text(0, 1.32, capital(NAMES[stage]), transform=axes.transAxes, fontsize=9, fontweight="bold")
    for axes in panels[-1]:
        axes.set_xticks(ticks(layers, 14))
        axes.set_xlabel("layer")
    return NamedFigure(
        name="maps",
        title="Maps of heads, one choice at a time",
        caption=(
            "Mean score of every head (layers along x, heads along y), white for zero and below, full colour for the "
            "panel’s largest. Above each panel: the largest score in logits, and the number of different scores. Dots: "
            f"heads whose score equals exactly that of number {top}, if the cut of the top {top} divides them; the "
            "choice among them is then arbitrary. Without dots the cut divides no ties."
        ),
        figure=figure,
        csv=tidy(_joined(summaries, ["mean", "n"]), ["mean", "n"]),
    )


def _map_panel(axes: Axes, scores: np.ndarray, colour: str, top: int) -> None:
    largest = float(np.nanmax(scores, initial=0.0)) or 1.0
    colours = LinearSegmentedColormap.from_list("stage", ["white", colour])
    lines: dict[str, Any] = {"edgecolors": FRAME, "linewidth": min(0.4, 5 / scores.shape[0])}
    axes.pcolormesh(*map(edges, scores.shape), np.maximum(scores.T, 0.0), cmap=colours, vmin=0.0, vmax=largest, **lines)
    tied, inside = exact_ties(scores, top)
    if tied > inside:
        at = np.argwhere(scores == np.sort(scores, axis=None)[-top])
        axes.plot(at[:, 0], at[:, 1], ls="", marker=".", ms=float(np.clip(40 / scores.shape[0], 1.2, 3.5)), color=INK)
    text = f"{number(float(scores.max()), 2)} · {len(np.unique(scores))} scores"
    axes.text(0, 1.03, text + (f" · {tied} tied" if tied > inside else ""), transform=axes.transAxes, fontsize=6.5)
    axes.set_ylim(scores.shape[1] - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def retrieval_layers(summaries: Summaries) -> NamedFigure:
    """The depth of ID retrieval with and without choices, and that of ID selection in the baseline."""
    figure = canvas(7.2, 2.9)
    axes = figure.subplots()
    (first, baseline), *others = summaries.items()
    moved = sorted(others, key=lambda item: -_distance(baseline, item[1]))[:2]
    shares = {
        f"ID selection, {first}": (mass_by_layer(mean_map(baseline, "id_selection")), PURPLE),
        f"ID retrieval, {first}": (mass_by_layer(mean_map(baseline, "id_retrieval")), BLUE),
        **{
            f"ID retrieval, {name}": (mass_by_layer(mean_map(summary, "id_retrieval")), pen)
            for (name, summary), pen in zip(moved, (ORANGE, GREEN), strict=False)
        },
    }
    layers = baseline["layer"].values
    for label, (values, pen) in shares.items():
        curve(axes, xr.DataArray(values, dims="layer", coords={"layer": layers}), pen, label)
    over_layers(axes, len(layers))
    axes.set_ylabel("share of positive scores")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2, handlelength=2.6)
    table = xr.Dataset(
        {"share": (("curve", "layer"), np.stack([values for values, _ in shares.values()]))},
        coords={"curve": list(shares), "layer": layers},
    )
    return NamedFigure(
        name="layers",
        title="Depth of ID retrieval",
        caption=(
            "Share of a map’s positive scores in each layer: for ID retrieval without any choice and with the two "
            "choices that change it most, and for ID selection, which should be later."
        ),
        figure=figure,
        csv=tidy(table, ["share"]),
    )


def _distance(first: xr.Dataset, second: xr.Dataset) -> float:
    shares = [mass_by_layer(mean_map(summary, "id_retrieval")) for summary in (first, second)]
    return float(np.nan_to_num(abs(shares[0] - shares[1])).sum())


def ranks(summaries: Summaries, top: int) -> NamedFigure:
    """Scores in decreasing order: smooth without choices, a staircase with one sample in bfloat16."""
    (first, baseline), *others = summaries.items()
    stages = stages_of(baseline)
    name, coarse = min(others or [(first, baseline)], key=lambda item: _distinct(item[1], stages))
    figure = canvas(7.6, 2.6)
    shown = min(4 * top, mean_map(baseline, stages[0]).size)
    rows = []
    for axes, stage in zip(figure.subplots(1, len(stages), sharey=True), stages, strict=True):
        for label, summary, pen in ((first, baseline, GREY), (name, coarse, Pen(STAGE_COLOURS[stage], "o"))):
            scores = np.sort(mean_map(summary, stage), axis=None)[::-1][:shown]
            style: dict[str, Any] = {"ls": pen.line} if pen is GREY else {"ls": "", "marker": "o", "ms": 2.4}
            axes.plot(np.arange(1, shown + 1), scores, color=pen.colour, lw=1.2, label=label, **style)
            rows += [(stage, label, rank, float(score)) for rank, score in enumerate(scores, 1)]
        axes.axvline(top + 0.5, color=FAINT, lw=0.9, ls=(0, (1, 1.5)))
        axes.set_yscale("symlog", linthresh=0.1, linscale=1.2)
        axes.axhline(0, color=FAINT, lw=0.8, zorder=1)
        axes.set_title(capital(NAMES[stage]))
        axes.set_xlabel("rank of the head")
    left = figure.axes[0]
    left.set_ylabel("score (logits)")
    left.legend(*_short_legend(left), loc="upper right", fontsize=6.5, handlelength=1.8)
    return NamedFigure(
        name="ranks",
        title="Scores in decreasing order",
        caption=(
            f"The {shown} largest scores of each stage: dashed without any choice, dots with the choice that has the "
            f"fewest different scores ({name}). Dots at the same height are tied heads. Dotted line: the cut of the "
            f"top {top}. The axis is linear within ±0.1 logits and logarithmic beyond."
        ),
        figure=figure,
        csv="\n".join(["stage,choice,rank,score", *(f"{s},{c},{r},{v!r}" for s, c, r, v in rows)]) + "\n",
    )


def _short_legend(axes: Axes) -> tuple[list[Any], list[str]]:
    handles, labels = axes.get_legend_handles_labels()
    return list(handles), [textwrap.fill(str(label), 20) for label in labels]


def _distinct(summary: xr.Dataset, stages: list[str]) -> int:
    return sum(len(np.unique(mean_map(summary, stage))) for stage in stages)
