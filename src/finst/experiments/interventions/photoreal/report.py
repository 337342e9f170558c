"""Figures and findings of ``photoreal`` (Figs 3b, 37-43)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from finst.experiments.interventions import figures as shared
from finst.experiments.interventions.effect_table import EFFECTS, EffectRow
from finst.experiments.interventions.figures import SHARES, draws_of, heat, points
from finst.experiments.interventions.sentences import (
    EFFECT_COLUMNS,
    before_and_after,
    rows_by_set,
    setting_of,
    share_of,
    tested,
    tie_notes,
)
from finst.experiments.interventions.shown_pictures import reading_lines
from finst.report.curves import AMBER, BLUE, GREEN, ORANGE, PURPLE
from finst.report.figures import FAINT, NamedFigure, canvas, styled
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import NAMES, level_of

KINDS = {**shared.KINDS, "random direction": "random directions"}

GROUPS = {"all": "pooled", "left": "left described", "right": "right described"}

LABELS = {"dose": "dose", "k": "K"}

CONTROL_LINES = {"random": "--", "layer-matched": ":", "random direction": "-."}

RELIABLE = 0.5
"""Below this share of right answers without an edit the findings warn."""


@styled
def photoreal_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figures of a summary with dims stage, set, k, dose, group."""
    return (sides(summary), grids(summary), curve(summary, "dose"), curve(summary, "k"))


def chosen(summary: xr.Dataset, stage: str, name: str = "top") -> dict[str, float]:
    """The K and dose that were selected for a set of heads in a stage."""
    return {dim: summary[f"chosen_{dim}"].sel({"stage": stage, "set": name}).item() for dim in ("k", "dose")}


def at_chosen(summary: xr.Dataset, fixed: Sequence[str] = ("k", "dose")) -> xr.Dataset:
    """Every stage at the setting selected for its strongest heads: dims stage, set, group, and those not ``fixed``."""
    parts: list[xr.Dataset] = []
    for stage in summary["stage"].values.tolist():
        cell = {dim: value for dim, value in chosen(summary, stage).items() if dim in fixed}
        parts.append(summary[EFFECTS].sel({"stage": stage, **cell}).drop_vars(fixed))
    return xr.concat(parts, "stage", data_vars="all", coords="minimal", compat="override", join="exact")


def sides(summary: xr.Dataset) -> NamedFigure:
    """Both sides and pooled, before and after, a panel a stage."""
    figure = canvas(7.2, 3.1)
    effects = at_chosen(summary)
    panels = figure.subplots(1, effects.sizes["stage"], sharey=True)
    x = np.arange(len(GROUPS))
    for axes, stage in zip(panels, effects["stage"].values.tolist(), strict=True):
        part = effects.sel(stage=stage, group=list(GROUPS))
        points(axes, x - 0.3, part.sel(set="top"), "before", BLUE, "before", filled=False)
        for place, (name, pen) in enumerate(zip(KINDS, (ORANGE, GREEN, PURPLE, AMBER), strict=True)):
            for index, draw in enumerate(draws_of(part, name)):
                label = f"after: {KINDS[name]}" if index == 0 else "_"
                points(axes, x - 0.15 + 0.15 * place + 0.04 * index, part.sel(set=draw), "after", pen, label)
        axes.set(title=f"{NAMES[stage]}\n{setting_of(**chosen(summary, stage))}")
        axes.set_xticks(x, [label.replace(" ", "\n") for label in GROUPS.values()])
    panels[0].set(ylabel="share naming the described thing", ylim=SHARES)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return NamedFigure(
        name="photoreal-sides",
        title="Steering which of two things is named",
        caption=(
            "Share of pictures in which the described thing is named again, in place of the other one, when heads of a "
            "stage are steered to the other side. Hollow: before the edit. Filled: after it, with the K and the dose "
            "that were best on the other half for both sides together; after the same edit of other heads; and after "
            "an edit along random directions of the same lengths. A model that merely came to answer with one side "
            f"would be high on that side alone. Bars: {level_of(summary)} Wilson intervals; reporting half. Compare "
            "Fig 3b."
        ),
        figure=figure,
        csv=tidy(effects, EFFECTS),
    )


def grids(summary: xr.Dataset) -> NamedFigure:
    """All K and doses, a row a stage, a column a kind of sets."""
    stages = summary["stage"].values.tolist()
    figure = canvas(7.2, 6.2)
    panels = figure.subplots(len(stages), len(KINDS), sharex=True, sharey=True)
    pooled = summary["after"].sel(group="all")
    for row, stage in zip(panels, stages, strict=True):
        for axes, name in zip(row, KINDS, strict=True):
            shares = pooled.sel(stage=stage, set=draws_of(pooled, name)).mean("set")
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
            "on the reporting half. The frame marks the setting that was selected on the other half. Controls are "
            "means over draws. Compare Figs 37-43."
        ),
        figure=figure,
        csv=tidy(summary, ["after"]),
    )


def curve(summary: xr.Dataset, along: str) -> NamedFigure:
    """Over doses at each stage's chosen K, or over K at its chosen dose, a panel a stage."""
    fixed = {"dose": "k", "k": "dose"}[along]
    effects = at_chosen(summary, [fixed])
    figure = canvas(7.2, 3.1)
    panels = figure.subplots(1, effects.sizes["stage"], sharey=True)
    x = np.arange(effects.sizes[along])
    for axes, stage in zip(panels, effects["stage"].values.tolist(), strict=True):
        part, cell = effects.sel(stage=stage), chosen(summary, stage)
        for name, line in CONTROL_LINES.items():
            for index, draw in enumerate(draws_of(part, name)):
                label = KINDS[name] if index == 0 else "_"
                axes.plot(x, part["after"].sel(set=draw, group="all"), color=FAINT, lw=0.9, ls=line, label=label)
        for place, (group, pen) in enumerate(zip(GROUPS, (ORANGE, BLUE, GREEN), strict=True)):
            moved = x + 0.12 * (place - 1)
            points(axes, moved, part.sel(set="top", group=group), "after", pen, GROUPS[group], line=True)
        axes.axvline(part[along].values.tolist().index(cell[along]), color=FAINT, lw=0.8, ls=":", zorder=0)
        axes.set_xticks(x, [f"{value:g}" for value in part[along].values])
        axes.set(title=f"{NAMES[stage]}, {LABELS[fixed]} {cell[fixed]:g}", xlabel=LABELS[along])
    panels[0].set(ylabel="share naming the described thing", ylim=SHARES)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return NamedFigure(
        name=f"photoreal-{along}",
        title=f"Along {LABELS[along]}",
        caption=(
            f"Share naming the described thing over {LABELS[along]}, at the {LABELS[fixed]} that was selected on the "
            "other half, for both sides together and for either thing described. Grey: controls, both sides together. "
            f"Vertical line: the selected {LABELS[along]}. Bars: {level_of(summary)} Wilson intervals; reporting half. "
            "Compare Figs 37-43."
        ),
        figure=figure,
        csv=tidy(effects, EFFECTS),
    )


def photoreal_findings(summary: xr.Dataset) -> Findings:
    """The results in words and in a table."""
    effects = at_chosen(summary)
    stages = effects["stage"].values.tolist()
    pooled = effects.sel(set="top", group="all")
    shares = ", ".join(f"{NAMES[stage]} {float(pooled['after'].sel(stage=stage)):.1%}" for stage in stages)
    rows = [row for stage in stages for row in rows_by_set(effects.sel(stage=stage), NAMES[stage])]
    return Findings(
        title="steering which of two things is named",
        headline=(
            "The described thing is named again, in place of the other one, when a stage is steered to the other side: "
            f"in {shares} (at most {float(pooled['before'].max()):.1%} without)."
        ),
        sentences=(
            *(_finding(summary, effects.sel(stage=stage), stage) for stage in stages),
            f"without an edit {float(summary['right_before']):.1%} name the other thing, which is the right answer",
            *_notes(summary),
        ),
        columns=("stage", "heads", "described", *EFFECT_COLUMNS),
        rows=tuple((stage, name, GROUPS[group], *cells) for stage, name, group, *cells in rows),
        method=_method(summary),
    )


def _finding(summary: xr.Dataset, effects: xr.Dataset, stage: str) -> str:
    top = effects.sel(set="top")
    either = ", ".join(f"{GROUPS[side]} {share_of(top.sel(group=side), 'after')}" for side in ("left", "right"))
    controls = []
    for name in CONTROL_LINES:
        draws = effects["after"].sel(group="all", set=draws_of(effects, name))
        best = max(_at_own_setting(summary, stage, draw) for draw in draws["set"].values.tolist())
        controls.append(f"{float(draws.max()):.1%} ({best:.1%}) with {KINDS[name]}")
    return (
        f"{NAMES[stage]}, {setting_of(**chosen(summary, stage))}: {before_and_after(top.sel(group='all'))}; {either}; "
        f"controls at that setting, and in brackets at the best one of their own: at most {', '.join(controls)}"
    )


def _at_own_setting(summary: xr.Dataset, stage: str, name: str) -> float:
    cell = {"stage": stage, "set": name, **chosen(summary, stage, name)}
    return float(summary["after"].sel({**cell, "group": "all"}))


def _notes(summary: xr.Dataset) -> list[str]:
    """What limits the results."""
    notes = [
        f"{NAMES[stage]}, {note}"
        for stage in summary["stage"].values.tolist()
        for note in tie_notes(summary["warning"].sel(stage=stage), [int(chosen(summary, stage)["k"])])
    ]
    right, unmirrored = float(summary["right_before"]), int(summary["unmirrored"])
    if right < RELIABLE:
        notes.append(
            f"in {1 - right:.1%} the model does not name the other thing even without an edit, so the effects say "
            "little about how it names things"
        )
    if unmirrored:
        notes.append(f"{unmirrored} tested pictures have no mirror image, so their things are not balanced")
    return [*notes, *reading_lines(summary)]


def _method(summary: xr.Dataset) -> tuple[str, ...]:
    pictures = "drawings" if summary.attrs["pictures"] == "drawn" else f"pictures of {summary.attrs['pictures']}"
    return (
        "Each picture has two things, one left and one right. The prompt is “In this image there is a [colour] [kind] "
        "and a”, and the right answer is the other thing. A hit names the colour of the described thing. Directions "
        "are differences between means over contexts that describe the right thing and contexts that describe the left "
        f"thing ({int(summary['estimated_from'])} each, from {summary.attrs['estimation']} {pictures} that are not "
        f"tested on; {float(summary['estimated_right']):.1%} of them are continued exactly). Every such picture goes "
        "with its mirror image (the same things in the same environment, on exchanged sides) and is described from "
        "both sides, so the means differ in sides alone.",
        "ID retrieval: head outputs at the words of the described thing, with separate means and edits for colour and "
        "noun, over all tokens of a word. ID selection: head outputs at the last token. Feature retrieval: queries "
        "there, before rotary positions. dose × difference is added so that the stage works as if the described thing "
        "stood on the other side.",
        "Heads are the strongest of each stage by causal mediation. Controls are as many heads drawn from all, from "
        "the others in the same layers, and random directions of equal lengths in the strongest heads. K and dose were "
        "selected for each stage on half of the pictures, left and right together; all results are of the other half. "
        f"{tested(summary)}",
    )


def photoreal_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Every stage, both sides together."""
    effects = at_chosen(summary).sel(group="all")
    return tuple(
        EffectRow.of_top(
            f"{NAMES[stage]}: the described thing is named again",
            setting_of(**chosen(summary, stage)),
            effects.sel(stage=stage),
        )
        for stage in effects["stage"].values.tolist()
    )
