"""Figures and account of ``photoreal`` (Figs 3b, 37-43)."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr

from finst.experiments.interventions import figures as interventions
from finst.experiments.interventions.effect_table import EffectRow
from finst.experiments.interventions.figures import (
    EFFECT_COLUMNS,
    EFFECTS,
    effect_row,
    heat,
    kind,
    points,
    share_of,
    tie_warning,
)
from finst.report.curves import AMBER, BLUE, GREEN, ORANGE, PURPLE
from finst.report.figures import FAINT, STYLE, NamedFigure, canvas
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import NAMES, level_of, probability

KINDS = {**interventions.KINDS, "random direction": "random directions"}

GROUPS = {"all": "pooled", "left": "left described", "right": "right described"}

LABELS = {"dose": "dose", "k": "K"}

CONTROL_LINES = {"random": "--", "layer-matched": ":", "random direction": "-."}

CAN = 0.5
"""The least share right without an edit that is not warned about."""


def photoreal_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims stage, set, k, dose, group."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return (sides(summary), grids(summary), curve(summary, "dose"), curve(summary, "k"))


def chosen(summary: xr.Dataset, stage: str, name: str = "top") -> dict[str, float]:
    """The cell of the grid that was best for a set of heads in a stage."""
    return {dim: summary[f"chosen_{dim}"].sel({"stage": stage, "set": name}).item() for dim in ("k", "dose")}


def at_chosen(summary: xr.Dataset) -> xr.Dataset:
    """Every stage at the cell of its strongest heads: dims stage, set, group."""
    stages = summary["stage"].values.tolist()
    parts = [summary[list(EFFECTS)].sel({"stage": stage, **chosen(summary, stage)}) for stage in stages]
    dropped = [part.drop_vars(["k", "dose"]) for part in parts]
    return xr.concat(dropped, "stage", data_vars="all", coords="minimal", compat="override", join="exact")


def sides(summary: xr.Dataset) -> NamedFigure:
    """Both sides and pooled, before and after, a panel a stage."""
    figure = canvas(7.2, 3.1)
    found = at_chosen(summary)
    panels = figure.subplots(1, found.sizes["stage"], sharey=True)
    x = np.arange(len(GROUPS))
    for axes, stage in zip(panels, found["stage"].values.tolist(), strict=True):
        part = found.sel(stage=stage, group=list(GROUPS))
        points(axes, x - 0.3, part.sel(set="top"), "before", BLUE, "before", filled=False)
        for place, (name, pen) in enumerate(zip(KINDS, (ORANGE, GREEN, PURPLE, AMBER), strict=True)):
            draws = ["top"] if name == "top" else kind(part, name)["set"].values.tolist()
            for index, draw in enumerate(draws):
                label = f"after: {KINDS[name]}" if index == 0 else "_"
                points(axes, x - 0.15 + 0.15 * place + 0.04 * index, part.sel(set=draw), "after", pen, label)
        axes.set(title=_settings(summary, stage))
        axes.set_xticks(x, [label.replace(" ", "\n") for label in GROUPS.values()])
    panels[0].set(ylabel="share naming the described thing", ylim=(-0.03, 1.03))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return NamedFigure(
        name="photoreal-sides",
        title="Steering which of two things is named",
        caption=(
            "Share of pictures in which the described thing is named again, in place of the other one, when heads of a "
            "stage are told the other side: before (hollow) and after, with the K and the dose that were best on the "
            "other half for both sides together, and with the same edit of other heads, or along random directions of "
            "the same lengths. A model that merely came to answer with one side would be high on that side alone. "
            f"{level_of(summary)} Wilson intervals; reporting half. Compare Fig 3b."
        ),
        figure=figure,
        csv=tidy(found, list(EFFECTS)),
    )


def _settings(summary: xr.Dataset, stage: str) -> str:
    cell = chosen(summary, stage)
    return f"{NAMES[stage]}\nK = {cell['k']:g}, dose {cell['dose']:g}"


def grids(summary: xr.Dataset) -> NamedFigure:
    """All K and doses, a row a stage, a column a kind of sets."""
    stages = summary["stage"].values.tolist()
    figure = canvas(7.2, 6.2)
    panels = figure.subplots(len(stages), len(KINDS), sharex=True, sharey=True)
    pooled = summary.sel(group="all")
    for row, stage in zip(panels, stages, strict=True):
        for axes, name in zip(row, KINDS, strict=True):
            of_kind = pooled.sel(set=["top"]) if name == "top" else kind(pooled, name)
            shares = of_kind["after"].sel(stage=stage).mean("set")
            heat(axes, shares, chosen(summary, stage) if name == "top" else None)
        row[0].set(ylabel=f"{NAMES[stage]}: K")
    for axes, name in zip(panels[0], KINDS, strict=True):
        axes.set(title=KINDS[name].replace(" in the ", " in\nthe "))
    for axes in panels[-1]:
        axes.set(xlabel="dose")
    return NamedFigure(
        name="photoreal-grid",
        title="K and dose",
        caption=(
            "Share (in %) of pictures in which the described thing is named, both sides together, for all K and doses, "
            "on the reporting half. The frame marks what was chosen, on the other half. Controls are means over draws. "
            "Compare Figs 37-43."
        ),
        figure=figure,
        csv=tidy(summary, ["after"]),
    )


def curve(summary: xr.Dataset, along: str) -> NamedFigure:
    """Over doses at each stage's chosen K, or over K at its chosen dose, a panel a stage."""
    fixed = {"dose": "k", "k": "dose"}[along]
    found = _along(summary, along, fixed)
    figure = canvas(7.2, 3.1)
    panels = figure.subplots(1, found.sizes["stage"], sharey=True)
    x = np.arange(found.sizes[along])
    for axes, stage in zip(panels, found["stage"].values.tolist(), strict=True):
        part, cell = found.sel(stage=stage), chosen(summary, stage)
        for name, line in CONTROL_LINES.items():
            for index, draw in enumerate(kind(part, name)["set"].values.tolist()):
                label = KINDS[name] if index == 0 else "_"
                axes.plot(x, part["after"].sel(set=draw, group="all"), color=FAINT, lw=0.9, ls=line, label=label)
        for place, (group, pen) in enumerate(zip(GROUPS, (ORANGE, BLUE, GREEN), strict=True)):
            values = part.sel(set="top", group=group)
            moved = x + 0.12 * (place - 1)
            points(axes, moved, values, "after", pen, GROUPS[group])
            axes.plot(moved, values["after"], color=pen.colour, ls=pen.line, lw=1)
        axes.axvline(part[along].values.tolist().index(cell[along]), color=FAINT, lw=0.8, ls=":", zorder=0)
        axes.set_xticks(x, [f"{value:g}" for value in part[along].values])
        axes.set(title=f"{NAMES[stage]}, {LABELS[fixed]} {cell[fixed]:g}", xlabel=LABELS[along])
    panels[0].set(ylabel="share naming the described thing", ylim=(-0.03, 1.03))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return NamedFigure(
        name=f"photoreal-{along}",
        title=f"Along {LABELS[along]}",
        caption=(
            f"Share naming the described thing over {LABELS[along]}, at the {LABELS[fixed]} that was chosen on the "
            "other half, for both sides together and for either thing described; grey: controls, both sides together. "
            f"Vertical: what was chosen of {LABELS[along]}. {level_of(summary)} Wilson intervals; reporting half. "
            "Compare Figs 37-43."
        ),
        figure=figure,
        csv=tidy(found, list(EFFECTS)),
    )


def _along(summary: xr.Dataset, along: str, fixed: str) -> xr.Dataset:
    """Every stage's line through its chosen cell: dims stage, set, group and ``along``."""
    lines = [
        summary[list(EFFECTS)].sel({"stage": stage, fixed: chosen(summary, stage)[fixed]}).drop_vars(fixed)
        for stage in summary["stage"].values.tolist()
    ]
    return xr.concat(lines, "stage", data_vars="all", coords="minimal", compat="override", join="exact")


def photoreal_findings(summary: xr.Dataset) -> Findings:
    """Of ``photoreal``."""
    stages, found = summary["stage"].values.tolist(), at_chosen(summary)
    top = found.sel(set="top")
    rows = []
    for stage in stages:
        for name in found["set"].values.tolist():
            for group in GROUPS if name == "top" else ("all",):
                at = found.sel(stage=stage, set=name, group=group)
                rows.append((NAMES[stage], name, GROUPS[group], *effect_row(at)))
    shares = ", ".join(f"{NAMES[s]} {float(top['after'].sel(stage=s, group='all')):.1%}" for s in stages)
    return Findings(
        title="steering which of two things is named",
        headline=(
            "The described thing is named again, in place of the other one, when a stage is told the other side: in "
            f"{shares} (at most {float(top['before'].sel(group='all').max()):.1%} without)."
        ),
        sentences=(
            *(_finding(summary, found.sel(stage=stage), stage) for stage in stages),
            f"without an edit {float(summary['right_before']):.1%} name the other thing, as they should",
            *_warned(summary),
        ),
        columns=("stage", "heads", "described", *EFFECT_COLUMNS),
        rows=tuple(rows),
        method=_method(summary),
    )


def _finding(summary: xr.Dataset, found: xr.Dataset, stage: str) -> str:
    top = found.sel(set="top")
    pooled, cell = top.sel(group="all"), chosen(summary, stage)
    either = ", ".join(f"{GROUPS[side]} {share_of(top.sel(group=side), 'after')}" for side in ("left", "right"))
    controls = []
    for name in [name for name in KINDS if name != "top"]:
        draws = kind(found, name)["after"].sel(group="all")
        own = max(_own_best(summary, stage, draw) for draw in draws["set"].values.tolist())
        controls.append(f"{float(draws.max()):.1%} ({own:.1%}) with {KINDS[name]}")
    return (
        f"{NAMES[stage]}, K = {cell['k']:g}, dose {cell['dose']:g}: {share_of(pooled, 'before')} before, "
        f"{share_of(pooled, 'after')} after, n = {int(pooled['n'])}, {probability(float(pooled['p']))}; {either}; at "
        f"most (with a K and a dose of their own, chosen likewise) {', '.join(controls)}"
    )


def _own_best(summary: xr.Dataset, stage: str, name: str) -> float:
    cell = {"stage": stage, "set": name, **chosen(summary, stage, name)}
    return float(summary["after"].sel({**cell, "group": "all"}))


def _warned(summary: xr.Dataset) -> list[str]:
    said = []
    for stage in summary["stage"].values.tolist():
        warned = tie_warning(summary["warning"].sel(stage=stage), [int(chosen(summary, stage)["k"])])
        said += [f"of the heads of {NAMES[stage]}: {warned}"] if warned else []
    right = float(summary["right_before"])
    if right < CAN:
        said.append(
            f"in {1 - right:.1%} the model does not name the other thing even without an edit, so what edits do here "
            "tells little about how it names things that it sees"
        )
    count = int(summary["unmirrored"])
    return said + ([f"{count} tested pictures have no mirror image, so their things are not balanced"] if count else [])


def _method(summary: xr.Dataset) -> tuple[str, ...]:
    pictures = "drawings" if summary.attrs["pictures"] == "drawn" else f"pictures of {summary.attrs['pictures']}"
    return (
        "Two things, one left and one right; the prompt is “In this image there is a [colour] [kind] and a”, and the "
        "right answer is the other thing. A hit names the colour of the described thing. Directions are differences "
        "between means over contexts that describe the right thing and contexts that describe the left thing "
        f"({int(summary['estimated_from'])} each, of {summary.attrs['estimation']} {pictures} of no question; "
        f"{float(summary['estimated_right']):.1%} of them continued exactly). Every such picture goes with its mirror "
        "image (the same things in the same environment, on exchanged sides) and is asked about from both sides, so "
        "the means differ in sides alone.",
        "ID retrieval: head outputs at the words of the described thing, means and edits for colour and noun apart, "
        "over all tokens of a word. ID selection: head outputs at the last token. Feature retrieval: queries there, "
        "before rotary positions. dose × difference is added so that the stage works as if the described thing stood "
        "on the other side.",
        "Heads are the strongest of each stage by causal mediation. Controls are as many heads drawn from all, from "
        "the others in the same layers, and random directions of equal lengths in the strongest heads. K and dose were "
        "chosen for each stage on half of the questions, left and right together; all else is of the other half. "
        f"{interventions.tested(summary)}",
    )


def photoreal_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Every stage, both sides together."""
    found, rows = at_chosen(summary).sel(group="all"), []
    for stage in found["stage"].values.tolist():
        part, cell = found.sel(stage=stage), chosen(summary, stage)
        told = (part.sel(set="top"), part.sel(set=part["set"] != "top"))
        setting = f"K = {cell['k']:g}, dose {cell['dose']:g}"
        rows.append(EffectRow.of(f"{NAMES[stage]}: the described thing is named again", setting, *told))
    return tuple(rows)
