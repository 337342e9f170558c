"""Figures and findings of ``reuse`` (Fig 5)."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import numpy as np
import xarray as xr

from finst.experiments.interventions.effect_rows import EFFECTS, EffectRow
from finst.experiments.interventions.figures import KINDS, SHARES, draws_of, heat, points
from finst.experiments.interventions.older import grid_of_shares, largest, own_from_grid
from finst.experiments.interventions.sentences import (
    EFFECT_COLUMNS,
    before_and_after,
    choice_of,
    control_notes,
    cut_notes,
    n_and_p,
    rows_by_set,
    rule,
    setting_of,
    share_of,
    tested,
    tie_notes,
)
from finst.report.curves import BLUE, GREEN, ORANGE, PURPLE
from finst.report.figures import NamedFigure, canvas, styled
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import level_of

MODES = {"answer": "ID of the answer’s cell added", "elsewhere": "another cell’s ID in place of the answer’s"}
"""What is written: the ID of the answer's cell, added (the paper's); or another cell's instead of the answer's, which
shows whether the ID is used at all in models that are always right."""


@styled
def reuse_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figures of a summary with dims half, mode, set, k, dose, group."""
    return (relations(summary), grids(summary))


def relations(summary: xr.Dataset) -> NamedFigure:
    """Every relation before and after, and with other heads, a panel a mode."""
    figure = canvas(7.2, 2.9)
    groups = summary["group"].values.tolist()
    panels = figure.subplots(1, len(MODES), sharey=True, squeeze=False)[0]
    x = np.arange(len(groups))
    for axes, mode in zip(panels, MODES, strict=True):
        part = summary.sel(mode=mode)
        points(axes, x - 0.24, part.sel(set="top"), "before", BLUE, "before", filled=False)
        for name, pen, place in (("top", ORANGE, -0.08), ("random", GREEN, 0.08), ("layer-matched", PURPLE, 0.24)):
            for index, draw in enumerate(draws_of(part, name)):
                label = f"after: {KINDS[name]}" if index == 0 else "_"
                points(axes, x + place + 0.05 * index, part.sel(set=draw), "after", pen, label)
        axes.set(title=f"{MODES[mode]}\n{setting_of(part['chosen_k'], part['chosen_dose'])}")
        axes.set_xticks(x, groups)
    panels[0].set(ylabel="share naming that cell’s colour", ylim=SHARES)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return NamedFigure(
        name="reuse-relations",
        title="Position IDs of scene description in spatial questions",
        caption=(
            "Share of spatial questions in which the model names the colour in the cell whose ID is written. Hollow: "
            "before the edit. Filled: after it, with the K and the dose that were chosen on the other half of the "
            f"questions, and after the same edit of other heads. Bars: {level_of(summary)} Wilson intervals. Left: the "
            "paper’s edit (Fig 5), where a hit is a right answer. Right: a hit is an answer that only the written ID "
            "explains."
        ),
        figure=figure,
        csv=tidy(summary, EFFECTS),
    )


def grids(summary: xr.Dataset) -> NamedFigure:
    """All K and doses on the reporting half."""
    figure = canvas(7.2, 4.6)
    panels = figure.subplots(len(MODES), len(KINDS), sharex=True, sharey=True)
    share = summary["share"].sel(half="reporting")
    for row, mode in zip(panels, MODES, strict=True):
        chosen = {name: float(summary[f"chosen_{name}"].sel(mode=mode)) for name in ("k", "dose")}
        for axes, name in zip(row, KINDS, strict=True):
            shares = share.sel(set=draws_of(share, name), mode=mode).mean("set")
            heat(axes, shares, chosen if name == "top" else None)
            axes.set(title=KINDS[name])
        row[0].set(ylabel=f"{mode}: K")
    for axes in panels[-1]:
        axes.set(xlabel="dose")
    return NamedFigure(
        name="reuse-grid",
        title="K and dose",
        caption=(
            "Share (in %) of hits on the reporting half for all K and doses. Upper row: the ID of the answer’s cell is "
            "added. Lower row: another cell’s ID is written in place of the answer’s. The frame marks the setting that "
            "was selected on the other half. Controls are means over draws."
        ),
        figure=figure,
        csv=tidy(summary, ["share"]),
    )


def reuse_findings(summary: xr.Dataset) -> Findings:
    """The results in words and in a table."""
    top = summary.sel(set="top", group="all")
    answer, elsewhere = (top.sel(mode=mode) for mode in MODES)
    rows = dict(zip(MODES, reuse_effects(summary), strict=True))
    counts = summary["estimated_from"].values
    return Findings(
        title="position IDs of scene description in spatial questions",
        headline=(
            f"With the answer’s ID added, {share_of(answer, 'after')} of spatial questions are answered correctly "
            f"({float(answer['before']):.1%} without; {n_and_p(answer)}). With another cell’s ID written, "
            f"{share_of(elsewhere, 'after')} name that cell’s colour ({float(elsewhere['before']):.1%} without; "
            f"{n_and_p(elsewhere)})."
        ),
        sentences=(
            *(
                f"{MODES[name]} ({', '.join(filter(None, (rows[name].setting, choice_of(mode))))}): "
                f"{before_and_after(mode)}; {int(mode['gained'])} gained, {int(mode['lost'])} lost; "
                f"{rows[name].controls_text}"
                for name, mode in (("answer", answer), ("elsewhere", elsewhere))
            ),
            *tie_notes(summary["warning"], top["chosen_k"].values.tolist()),
            *control_notes(summary["heads"], top["chosen_k"].values.tolist()),
            *cut_notes(summary),
        ),
        columns=("written", "heads", "relation", *EFFECT_COLUMNS),
        rows=tuple(row for mode in MODES for row in rows_by_set(summary.sel(mode=mode), mode)),
        method=(
            "The ID of a cell is each head’s mean output at the last token of scene descriptions whose object to be "
            f"named stands in that cell ({counts.min()} to {counts.max()} descriptions a cell; nine objects on the 3x3 "
            "grid in random order, new objects in every picture). IDs are added at the last token of questions about "
            "other pictures, which ask for the colour above, below, left or right of an object: dose × d(answer’s "
            "cell), as in the paper, or dose × (d(another cell) − d(answer’s cell)), for a cell that the question is "
            "not about.",
            "Heads are the strongest of ID selection by causal mediation. K and dose were selected on half of the "
            f"questions, all relations together. {rule(summary)} {tested(summary)}",
        ),
    )


def reuse_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Both modes, all relations together."""
    modes = {mode: summary.sel(mode=mode, group="all") for mode in MODES}
    return tuple(
        EffectRow.of_top(
            MODES[mode],
            setting_of(part["chosen_k"], part["chosen_dose"]),
            part if "own_after" in part else part.assign(_older(part)),
            alpha=float(summary.attrs["alpha"]),
        )
        for mode, part in modes.items()
    )


def _older(part: xr.Dataset) -> xr.Dataset:
    """Controls at their own settings, of one mode in a summary of an older finst."""
    grid = grid_of_shares(part["share"].sel(half="reporting"), int(part["n"].max()), 1 - float(part.attrs["alpha"]))
    return own_from_grid(grid.drop_vars("half"), largest(part["share"].sel(half="choosing")))
