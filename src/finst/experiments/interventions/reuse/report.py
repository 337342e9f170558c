"""Figures and account of ``reuse`` (Fig 5)."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr

from finst.experiments.interventions.effect_table import EffectRow
from finst.experiments.interventions.figures import (
    EFFECT_COLUMNS,
    EFFECTS,
    KINDS,
    effect_row,
    heat,
    kind,
    points,
    share_of,
    tested,
    tie_warning,
)
from finst.report.curves import BLUE, GREEN, ORANGE, PURPLE
from finst.report.figures import STYLE, NamedFigure, canvas
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import level_of, probability

MODES = {"answer": "ID of the answer’s cell added", "elsewhere": "another cell’s ID in place of the answer’s"}


def reuse_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims half, mode, set, k, dose, group."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return (relations(summary), grids(summary))


def relations(summary: xr.Dataset) -> NamedFigure:
    """Every relation before and after, and with other heads, a panel a mode."""
    figure = canvas(7.2, 2.9)
    groups = summary["group"].values.tolist()
    panels = figure.subplots(1, len(MODES), sharey=True, squeeze=False)[0]
    x = np.arange(len(groups))
    for axes, mode in zip(panels, MODES, strict=True):
        part = summary.sel(mode=mode)
        top = part.sel(set="top")
        points(axes, x - 0.24, top, "before", BLUE, "before", filled=False)
        points(axes, x - 0.08, top, "after", ORANGE, f"after: {KINDS['top']}")
        for name, pen, place in (("random", GREEN, 0.08), ("layer-matched", PURPLE, 0.24)):
            for index, draw in enumerate(kind(part, name)["set"].values.tolist()):
                label = f"after: {KINDS[name]}" if index == 0 else "_"
                points(axes, x + place + 0.05 * index, part.sel(set=draw), "after", pen, label)
        k, dose = int(part["chosen_k"]), float(part["chosen_dose"])
        axes.set(title=f"{MODES[mode]}\nK = {k}, dose {dose:g}")
        axes.set_xticks(x, groups)
    panels[0].set(ylabel="share naming that cell’s colour", ylim=(-0.03, 1.03))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return NamedFigure(
        name="reuse-relations",
        title="Position IDs of scene description in spatial questions",
        caption=(
            "Share of spatial questions in which the colour of the cell whose ID is written is named: before (hollow) "
            "and after the edit, with the K and the dose that were best on the other half of the questions, and with "
            f"the same edit of other heads. {level_of(summary)} Wilson intervals. Left: the paper’s edit (Fig 5), "
            "where right answers are hits. Right: hits are answers that the ID alone explains."
        ),
        figure=figure,
        csv=tidy(summary, list(EFFECTS)),
    )


def grids(summary: xr.Dataset) -> NamedFigure:
    """All K and doses on the reporting half."""
    figure = canvas(7.2, 4.6)
    panels = figure.subplots(len(MODES), len(KINDS), sharex=True, sharey=True)
    share = summary["share"].sel(half="reporting")
    for row, mode in zip(panels, MODES, strict=True):
        chosen = {name: float(summary[f"chosen_{name}"].sel(mode=mode)) for name in ("k", "dose")}
        for axes, name in zip(row, KINDS, strict=True):
            of_kind = share.sel(set=["top"]) if name == "top" else kind(share.to_dataset(), name)["share"]
            heat(axes, of_kind.sel(mode=mode).mean("set"), chosen if name == "top" else None)
            axes.set(title=KINDS[name])
        row[0].set(ylabel=f"{mode}: K")
    for axes in panels[-1]:
        axes.set(xlabel="dose")
    return NamedFigure(
        name="reuse-grid",
        title="K and dose",
        caption=(
            "Share (in %) of hits on the reporting half for all K and doses; upper row: the ID of the answer’s cell "
            "is added; lower row: another cell’s ID is written in place of the answer’s. The frame marks what was "
            "chosen, on the other half. Controls are means over draws."
        ),
        figure=figure,
        csv=tidy(summary, ["share"]),
    )


def reuse_findings(summary: xr.Dataset) -> Findings:
    """Of ``reuse``."""
    rows = []
    for mode in MODES:
        for name in summary["set"].values.tolist():
            for group in summary["group"].values.tolist() if name == "top" else ["all"]:
                at = summary.sel(mode=mode, set=name, group=group)
                rows.append((mode, name, group, *effect_row(at)))
    top = summary.sel(set="top", group="all")
    said = {mode: top.sel(mode=mode) for mode in MODES}
    settings = {m: f"K = {int(at['chosen_k'])}, dose {float(at['chosen_dose']):g}" for m, at in said.items()}
    other = float(summary["after"].sel(mode="elsewhere", group="all", set=summary["set"] != "top").max())
    warned = tie_warning(summary["warning"], [int(at["chosen_k"]) for at in said.values()])
    counts = summary["estimated_from"].values
    return Findings(
        title="position IDs of scene description in spatial questions",
        headline=(
            f"With the answer’s ID added, {float(said['answer']['after']):.1%} of spatial questions are answered "
            f"rightly ({float(said['answer']['before']):.1%} without); with another cell’s ID written, "
            f"{float(said['elsewhere']['after']):.1%} name that cell’s colour "
            f"({float(said['elsewhere']['before']):.1%} without)."
        ),
        sentences=(
            *(
                f"{MODES[mode]} ({settings[mode]}): {share_of(at, 'before')} before, {share_of(at, 'after')} after, "
                f"{int(at['gained'])} gained and {int(at['lost'])} lost of {int(at['n'])}, "
                f"{probability(float(at['p']))}"
                for mode, at in said.items()
            ),
            f"the same edit of other heads writes elsewhere in at most {other:.1%} of questions",
            *([f"of the heads: {warned}"] if warned else []),
        ),
        columns=("written", "heads", "relation", *EFFECT_COLUMNS),
        rows=tuple(rows),
        method=(
            "IDs are the mean outputs of each head at the last token of scene descriptions, by the cell of the object "
            f"to be named ({counts.min()} to {counts.max()} descriptions a cell, of nine objects on the 3x3 grid, in "
            "random order, new objects in every picture). They are added at the last token of questions for the "
            "colour above, below, left or right of an object, about other pictures: dose × d(answer’s cell), as in "
            "the paper, or dose × (d(another cell) − d(answer’s cell)), a cell that the question is not about.",
            "Heads are the strongest of ID selection by causal mediation; K and dose were chosen, for all relations "
            f"together, on half of the questions, and everything else is of the other half. {tested(summary)}",
        ),
    )


def reuse_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Both modes, all relations together."""
    rows = []
    for mode, hit in MODES.items():
        part = summary.sel(mode=mode, group="all")
        setting = f"K = {int(part['chosen_k'])}, dose {float(part['chosen_dose']):g}"
        rows.append(EffectRow.of(hit, setting, part.sel(set="top"), part.sel(set=part["set"] != "top")))
    return tuple(rows)
