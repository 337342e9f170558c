"""Figure and findings of ``frame-patch`` (Figs 13, 29)."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import numpy as np
import xarray as xr

from finst.experiments.interventions.effect_rows import EFFECTS, EffectRow
from finst.experiments.interventions.figures import KINDS, draws_of, over_ks, points
from finst.experiments.interventions.sentences import (
    EFFECT_COLUMNS,
    NO_EDIT,
    before_and_after,
    choice_of,
    control_notes,
    cut_notes,
    n_and_p,
    rows_by_set,
    rule,
    share_of,
    tested,
    tie_notes,
)
from finst.report.curves import BLUE, ORANGE
from finst.report.figures import NamedFigure, canvas, styled
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import counted, level_of, probability

RIVALS = {"relative": ORANGE, "absolute": BLUE}
"""The two undescribed objects: at the source target's place within the arrangement, or on the canvas."""


@styled
def frame_patch_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figure of a summary with dims named, set, k, group."""
    return (curves(summary),)


def curves(summary: xr.Dataset) -> NamedFigure:
    """Shares of both objects over K, a panel a kind of sets."""
    figure = canvas(7.2, 2.8)
    panels = figure.subplots(1, len(KINDS), sharey=True)
    part = summary.sel(group="all")
    for axes, name in zip(panels, KINDS, strict=True):
        x = over_ks(axes, part["k"].values.tolist(), int(summary["chosen_k"]) if name == "top" else None)
        for place, (rival, pen) in enumerate(RIVALS.items()):
            first = part.sel(named=rival, set="top").isel(k=[0])
            shift = 0.16 * (place - 0.5)
            points(axes, np.array([shift]), first, "before", pen, "_", filled=False)
            for index, draw in enumerate(draws_of(part, name)):
                label = f"same {rival} cell" if index == 0 else "_"
                moved = x + shift + 0.06 * index
                points(axes, moved, part.sel(named=rival, set=draw), "after", pen, label, line=True)
        axes.set(title=KINDS[name])
    panels[0].set(ylabel="share naming the object")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return NamedFigure(
        name="frame-patch",
        title="Relative or absolute place",
        caption=(
            "Share of pictures in which the model names the undescribed object at the source target’s place within the "
            "arrangement (relative) or on the canvas (absolute). K heads have their outputs at the last token replaced "
            "with those of the source. Hollow, K = 0: unedited. Dotted: the K selected on the other half, by how many "
            f"answers it moved to either object. Bars: {level_of(summary)} Wilson intervals. Compare Fig 29."
        ),
        figure=figure,
        csv=tidy(summary, [*EFFECTS, "rival"]),
    )


def frame_patch_findings(summary: xr.Dataset) -> Findings:
    """The results in words and in a table."""
    at_k = summary.sel(k=int(summary["chosen_k"]))
    chosen = int(at_k["k"])
    top = at_k.sel(set="top", group="all")
    relative, absolute = (top.sel(named=rival) for rival in RIVALS)
    rows = [rows_by_set(at_k.sel(named=rival), rival) for rival in RIVALS]
    return Findings(
        title="position IDs of one arrangement in another",
        headline=(
            f"With the outputs of the top {counted(chosen, 'selection head')} patched, {share_of(relative, 'after')} "
            f"name the object at the same relative cell ({float(relative['before']):.1%} before; "
            f"{n_and_p(relative)}) and {share_of(absolute, 'after')} the one at the same absolute cell "
            f"({float(absolute['before']):.1%} before; {probability(float(absolute['p']), NO_EDIT)})."
        ),
        sentences=(
            *(
                f"{name}: {before_and_after(effect)}; {row.controls_text}"
                for name, effect, row in zip(RIVALS, (relative, absolute), frame_patch_effects(summary), strict=True)
            ),
            *((f"K = {chosen}: {choice_of(top.isel(named=0))}",) if "equals" in top else ()),
            f"relative after the edit: {probability(float(top['rival']), 'absolute after the edit')}",
            f"{float(top['moved']):.1%} of answers move to the other undescribed object",
            f"{float(summary['source_right'].mean()):.1%} of sources are described correctly",
            *tie_notes(summary["warning"], [chosen]),
            *control_notes(summary["heads"], [chosen]),
            *cut_notes(summary),
        ),
        columns=("named", "heads", "arrangements", *EFFECT_COLUMNS),
        rows=tuple(row for pair in zip(*rows, strict=True) for row in pair),
        method=(
            "Each picture has four objects in a 2x2 arrangement in one quadrant of a 3x3 lattice. The source’s prompt "
            "describes all but the object at the lattice’s centre. The other picture, of other objects in another "
            "quadrant, leaves two objects undescribed: one at the centre as well, and one at the place that the "
            "source’s target has within its arrangement. Outputs of selection heads at the source’s last token replace "
            "their outputs at the other prompt’s last token. All 12 ordered pairs of quadrants are equally frequent; "
            "colours, shapes and orders are new in every pair.",
            "K was selected on half of the pairs, by how many answers move from one of the two objects to the other. "
            f"{rule(summary)} {tested(summary)}",
        ),
    )


def frame_patch_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Both rivals at the chosen K, all arrangements together."""
    part = summary.sel(group="all", k=int(summary["chosen_k"]))
    setting = f"K = {int(part['k'])}"
    return tuple(
        EffectRow.of_top(
            f"the object at the same {rival} cell", setting, part.sel(named=rival), alpha=float(summary.attrs["alpha"])
        )
        for rival in RIVALS
    )
