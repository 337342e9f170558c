"""Figures and findings of ``photoreal`` (Figs 3b, 37-43)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from finst.experiments.interventions import figures as shared
from finst.experiments.interventions.effect_rows import CHOICE, EFFECTS, LEAD, OWN, EffectRow
from finst.experiments.interventions.figures import SHARES, draws_of, heat, points
from finst.experiments.interventions.older import own_from_grid
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
from finst.experiments.interventions.shown_pictures import reading_lines
from finst.report.curves import AMBER, BLUE, GREEN, ORANGE, PURPLE
from finst.report.figures import FAINT, NamedFigure, canvas, styled
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import NAMES, level_of, listed

KINDS = {**shared.KINDS, "random direction": "random directions"}

GROUPS = {"all": "pooled", "left": "left described", "right": "right described"}

LABELS = {"dose": "dose", "k": "K"}

CONTROL_LINES = {"random": "--", "layer-matched": ":", "random direction": "-."}

RELIABLE = 0.5
"""Below this share of right answers without an edit the findings warn."""


@styled
def photoreal_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figures of a summary with dims stage, set, k, dose, group, and place: each place has its own."""
    return tuple(
        replace(
            figure,
            name=f"{figure.name}-{place.replace(' ', '-')}" if place else figure.name,
            title=f"{figure.title}, {place}" if place else figure.title,
        )
        for place, part in by_place(summary)
        for figure in (sides(part), grids(part), curve(part, "dose"), curve(part, "k"))
    )


def by_place(summary: xr.Dataset) -> tuple[tuple[str, xr.Dataset], ...]:
    """Each place with its part of the summary; one without a name in a summary of an older finst."""
    if "place" not in summary.dims:
        return (("", summary),)
    return tuple((name, summary.sel(place=name, drop=True)) for name in summary["place"].values.tolist())


def chosen(summary: xr.Dataset, stage: str, name: str = "top") -> dict[str, float]:
    """The K and dose that were selected for a set of heads in a stage."""
    return {dim: summary[f"chosen_{dim}"].sel({"stage": stage, "set": name}).item() for dim in ("k", "dose")}


def at_chosen(summary: xr.Dataset, fixed: Sequence[str] = ("k", "dose")) -> xr.Dataset:
    """Every stage at the setting selected for its strongest heads: dims stage, set, group, and those not ``fixed``."""
    parts: list[xr.Dataset] = []
    names = [name for name in (*EFFECTS, *LEAD, *OWN, *CHOICE) if name in summary]
    for stage in summary["stage"].values.tolist():
        cell = {dim: value for dim, value in chosen(summary, stage).items() if dim in fixed}
        parts.append(summary[names].sel({"stage": stage, **cell}).drop_vars(fixed))
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
            "that were chosen on the other half for both sides together; after the same edit of other heads; and after "
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
    """The results in words and in a table, place by place."""
    parts = by_place(summary)
    rows = [
        (*((place,) if place else ()), NAMES[stage], name, GROUPS[group], *cells)
        for place, part in parts
        for stage, effects in _by_stage(part)
        for name, group, *cells in rows_by_set(effects)
    ]
    return Findings(
        title="steering which of two things is named",
        headline=(
            "The described thing is named again, in place of the other one, when a stage is steered to the other side: "
            f"{'; '.join(_headline(place, part) for place, part in parts)}."
        ),
        sentences=(
            *(
                f"{f'{place}, ' if place else ''}{sentence}"
                for place, part in parts
                for sentence in (
                    *_findings(part),
                    f"without an edit {float(part['right_before']):.1%} name the other thing: the right answer",
                    *_notes(part),
                )
            ),
            *_unmirrored(summary),
            *reading_lines(summary),
            *cut_notes(summary),
        ),
        columns=(*(("place",) if parts[0][0] else ()), "stage", "heads", "described", *EFFECT_COLUMNS),
        rows=tuple(rows),
        method=_method(summary),
    )


def _by_stage(part: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Every stage of one place at the setting that was chosen for its strongest heads."""
    effects = at_chosen(part)
    for stage in effects["stage"].values.tolist():
        yield stage, effects.sel(stage=stage)


def _headline(place: str, part: xr.Dataset) -> str:
    """``upper row: ID retrieval 0.0% [0.0%, 13.8%] (n = 24 trials, p = 1.000 against no edit), ...``."""
    pooled = {stage: effects.sel(set="top", group="all") for stage, effects in _by_stage(part)}
    shares = ", ".join(f"{NAMES[stage]} {share_of(top, 'after')} ({n_and_p(top)})" for stage, top in pooled.items())
    before = max(float(top["before"]) for top in pooled.values())
    return f"{f'{place}: ' if place else ''}{shares}; at most {before:.1%} without"


def _findings(part: xr.Dataset) -> Iterator[str]:
    for (stage, effects), row in zip(_by_stage(part), _rows(part), strict=True):
        top = effects.sel(set="top")
        either = ", ".join(f"{GROUPS[side]} {share_of(top.sel(group=side), 'after')}" for side in ("left", "right"))
        pooled = top.sel(group="all")
        setting = ", ".join(filter(None, (row.setting, choice_of(pooled))))
        yield f"{NAMES[stage]}, {setting}: {before_and_after(pooled)}; {either}; {row.controls_text}"


def _notes(part: xr.Dataset) -> list[str]:
    """What limits the results of one place."""
    notes = [
        f"{NAMES[stage]}, {note}"
        for stage in part["stage"].values.tolist()
        for k in [int(chosen(part, stage)["k"])]
        for note in (
            *tie_notes(part["warning"].sel(stage=stage), [k]),
            *control_notes(part["heads"].sel(stage=stage), [k]),
        )
    ]
    right = float(part["right_before"])
    if right < RELIABLE:
        notes.append(
            f"in {1 - right:.1%} the model does not name the other thing even without an edit, so the effects say "
            "little about how it names things"
        )
    return notes


def _unmirrored(summary: xr.Dataset) -> tuple[str, ...]:
    count = int(summary["unmirrored"])
    if not count:
        return ()
    return (f"{count} tested pictures have no mirror image, so their things are not balanced",)


def _method(summary: xr.Dataset) -> tuple[str, ...]:
    pictures = "drawings" if summary.attrs["pictures"] == "drawn" else f"pictures of {summary.attrs['pictures']}"
    return (
        "Each picture has two things, one left and one right. The prompt is “In this image there is a [colour] [kind] "
        "and a”, and the right answer is the other thing. A hit names the colour of the described thing. Directions "
        "are differences between means over contexts that describe the right thing and contexts that describe the left "
        f"thing ({_each(summary['estimated_from'], '{:.0f}')} each, from {summary.attrs['estimation']} {pictures} that "
        f"are not tested on; {_each(summary['estimated_right'], '{:.1%}')} of them are continued exactly). Every such "
        "picture goes with its mirror image (the same things in the same environment, on exchanged sides) and is "
        f"described from both sides, so the means differ in sides alone.{_apart(summary)}",
        "ID retrieval: head outputs at the words of the described thing, with separate means and edits for colour and "
        "noun, over all tokens of a word. ID selection: head outputs at the last token. Feature retrieval: queries "
        "there, before rotary positions. dose × difference is added so that the stage works as if the described thing "
        "stood on the other side.",
        "Heads are the strongest of each stage by causal mediation. Controls are as many other heads drawn from all "
        "layers or from the same ones, and random directions of equal lengths in the strongest heads. K and dose were "
        f"selected for each stage on half of the pictures, left and right together. {rule(summary)} {tested(summary)}",
    )


def _each(values: xr.DataArray, form: str) -> str:
    """The value of every place, such as ``20`` or ``20 and 22``."""
    return listed(dict.fromkeys(form.format(value) for value in values.values.ravel().tolist()))


def _apart(summary: xr.Dataset) -> str:
    """What is done about places."""
    if "place" not in summary.dims:
        return " Pictures of all heights are taken together."
    names = [name for name, _ in by_place(summary) if name]
    return (
        f" Both things stand at one height, and each ({listed(names)}) has directions and results of its own."
        if names
        else ""
    )


def photoreal_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Every place and stage, both sides together."""
    return tuple(
        replace(row, measured=f"{row.measured}{f', {place}' if place else ''}")
        for place, part in by_place(summary)
        for row in _rows(part)
    )


def _rows(part: xr.Dataset) -> Iterator[EffectRow]:
    """The stages of one place."""
    for stage, effects in _by_stage(part):
        pooled = effects.sel(group="all")
        if "own_after" not in pooled:
            grid = part.sel(stage=stage, group="all")
            pooled = pooled.assign(own_from_grid(grid, {dim: grid[f"chosen_{dim}"] for dim in ("k", "dose")}))
        yield EffectRow.of_top(
            f"{NAMES[stage]}: the described thing is named again",
            setting_of(**chosen(part, stage)),
            pooled,
            alpha=float(part.attrs["alpha"]),
        )
