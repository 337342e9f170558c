"""Figure and account of ``frame-patch`` (Figs 13, 29)."""

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
    kind,
    points,
    share_of,
    tested,
    tie_warning,
)
from finst.report.curves import BLUE, ORANGE
from finst.report.figures import FAINT, STYLE, NamedFigure, canvas
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import level_of, probability

PENS = {"relative": ORANGE, "absolute": BLUE}


def frame_patch_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims named, set, k, group."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return (curves(summary),)


def curves(summary: xr.Dataset) -> NamedFigure:
    """Shares of both objects over K, a panel a kind of sets."""
    figure = canvas(7.2, 2.8)
    panels = figure.subplots(1, len(KINDS), sharey=True)
    part = summary.sel(group="all")
    x = np.arange(1, part.sizes["k"] + 1)
    for axes, name in zip(panels, KINDS, strict=True):
        draws = ["top"] if name == "top" else kind(part, name)["set"].values.tolist()
        for place, (role, pen) in enumerate(PENS.items()):
            first = part.sel(named=role, set="top").isel(k=[0])
            shift = 0.16 * (place - 0.5)
            points(axes, np.array([shift]), first, "before", pen, "_", filled=False)
            for index, draw in enumerate(draws):
                values = part.sel(named=role, set=draw)
                moved = x + shift + 0.06 * index
                points(axes, moved, values, "after", pen, f"same {role} cell" if index == 0 else "_")
                axes.plot(moved, values["after"], color=pen.colour, ls=pen.line, lw=1)
        axes.set_xticks([0, *x], ["0", *(str(k) for k in part["k"].values.tolist())])
        axes.set(title=KINDS[name], xlabel="K", ylim=(-0.03, 1.03))
    at = 1 + part["k"].values.tolist().index(int(summary["chosen_k"]))
    panels[0].axvline(at, color=FAINT, lw=0.8, ls=":", zorder=0)
    panels[0].set(ylabel="share naming the object")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return NamedFigure(
        name="frame-patch",
        title="Relative or absolute place",
        caption=(
            "Share of pictures in which the undescribed object is named that stands at the same place within the "
            "arrangement as the source’s target, or at the same place on the canvas, by the number of heads whose "
            "outputs at the last token come from the source. Hollow, K = 0: unedited. Dotted: K chosen on the other "
            f"half, by how many answers move either way. {level_of(summary)} Wilson intervals. Compare Fig 29."
        ),
        figure=figure,
        csv=tidy(summary, [*EFFECTS, "rival"]),
    )


def frame_patch_findings(summary: xr.Dataset) -> Findings:
    """Of ``frame-patch``."""
    chosen = int(summary["chosen_k"])
    rows = []
    for name in summary["set"].values.tolist():
        for group in summary["group"].values.tolist() if name == "top" else ["all"]:
            for role in PENS:
                at = summary.sel(named=role, set=name, group=group, k=chosen)
                rows.append((role, name, group, *effect_row(at)))
    top = summary.sel(set="top", group="all", k=chosen)
    relative, absolute = (top.sel(named=role) for role in PENS)
    warned = tie_warning(summary["warning"], [chosen])
    return Findings(
        title="indexes of one arrangement in another",
        headline=(
            f"With the top {chosen} selection heads patched, {float(relative['after']):.1%} name the object at the "
            f"same relative cell ({float(relative['before']):.1%} before) and {float(absolute['after']):.1%} the one "
            f"at the same absolute cell ({float(absolute['before']):.1%} before)."
        ),
        sentences=(
            f"relative: {share_of(relative, 'before')} before, {share_of(relative, 'after')} after, "
            f"{probability(float(relative['p']))}; absolute: {share_of(absolute, 'before')} before, "
            f"{share_of(absolute, 'after')} after, {probability(float(absolute['p']))}; n = {int(relative['n'])}",
            f"relative against absolute after the edit: {probability(float(top['rival']))}",
            f"{float(summary['moved'].sel(set='top', k=chosen)):.1%} of answers move to the other undescribed object",
            f"{float(summary['source_right'].mean()):.1%} of sources are described rightly",
            *([f"of the heads: {warned}"] if warned else []),
        ),
        columns=("named", "heads", "arrangements", *EFFECT_COLUMNS),
        rows=tuple(rows),
        method=(
            "Four objects in a 2x2 arrangement in one quadrant of a 3x3 lattice. The source describes all but the one "
            "at the lattice’s centre; the other picture, of other objects in another quadrant, leaves two to be named: "
            "one at the centre too, and one at the place that the source’s target has within its arrangement. What "
            "selection heads put out at the source’s last token replaces their outputs at the other prompt’s. All 12 "
            "ordered pairs of quadrants are equally frequent; colours, shapes and orders are new in every pair.",
            f"K was chosen on half of the pairs; everything else is of the other half. {tested(summary)}",
        ),
    )


def frame_patch_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Both rivals at the chosen K, all arrangements together."""
    chosen = int(summary["chosen_k"])
    rows = []
    for role in PENS:
        part = summary.sel(named=role, group="all", k=chosen)
        told = (part.sel(set="top"), part.sel(set=part["set"] != "top"))
        rows.append(EffectRow.of(f"the object at the same {role} cell", f"K = {chosen}", *told))
    return tuple(rows)
