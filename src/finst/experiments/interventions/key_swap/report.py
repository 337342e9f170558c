"""Figures and findings of ``key-swap`` (Fig 4)."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import numpy as np
import xarray as xr

from finst.experiments.interventions.effect_rows import EFFECTS, EffectRow
from finst.experiments.interventions.figures import SHARES, points
from finst.experiments.interventions.sentences import (
    EFFECT_COLUMNS,
    before_and_after,
    choice_of,
    n_and_p,
    rows_by_set,
    rule,
    share_of,
    tested,
    tie_notes,
)
from finst.report.curves import BLUE, GREEN, ORANGE, PENS, PURPLE
from finst.report.figures import FAINT, NamedFigure, canvas, styled
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import level_of

REACHES = {"one KV head": BLUE, "KV heads": GREEN, "layers": ORANGE}
"""What is edited: the KV head of the strongest head, those of the K strongest, or all KV heads of their layers."""

EDITED = {"queried": "queried object alone", "both": "both objects"}
"""Whose patches are edited."""


def edit_name(reach: str, edited: str) -> str:
    """The coordinate ``edit`` of the data."""
    return f"{reach}, {edited}"


PAPER = edit_name("layers", "both")
"""The paper's edit."""


@styled
def key_swap_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figures of a summary with dims edit, dose, group."""
    return (doses(summary), sides(summary))


def _controls(summary: xr.Dataset) -> dict[str, list[str]]:
    names = summary["edit"].values.tolist()
    return {kind: [name for name in names if name.startswith(kind)] for kind in ("random layers", "random direction")}


def doses(summary: xr.Dataset) -> NamedFigure:
    """The dose curve of every edit: a panel for one object, one for both, one for controls."""
    figure = canvas(7.2, 2.7)
    panels = figure.subplots(1, 3, sharey=True)
    part = summary.sel(group="all")
    x = np.arange(part.sizes["dose"])
    for axes, (edited, title) in zip(panels, EDITED.items(), strict=False):
        for place, (reach, pen) in enumerate(REACHES.items()):
            effects = part.sel(edit=edit_name(reach, edited))
            points(axes, x + 0.12 * (place - 1), effects, "after", pen, reach, line=True)
        axes.set(title=title)
    for place, (name, draws) in enumerate(_controls(summary).items()):
        pen = (PURPLE, PENS[0])[place]
        for index, draw in enumerate(draws):
            moved = x + 0.24 * (place - 0.5) + 0.08 * index
            label = name if index == 0 else "_"
            points(panels[2], moved, part.sel(edit=draw), "after", pen, label, filled=place == 0)
    panels[2].set(title="controls, both objects")
    for axes in panels:
        axes.set_xticks(x, [f"{dose:g}" for dose in part["dose"].values])
        axes.set(xlabel="dose", ylim=SHARES)
        axes.axhline(float(part["before"].max()), color=FAINT, lw=0.8, ls=":")
    panels[0].set(ylabel="share naming the other colour")
    panels[0].legend(loc="upper left")
    panels[2].legend(loc="upper left")
    layers = "as many other whole layers (or all others) at random, and "
    return NamedFigure(
        name="key-swap-dose",
        title="Keys of two objects swapped, by dose",
        caption=(
            "Share of colour questions answered with the other object’s colour. Keys at the queried object’s patches "
            "(left) or at both objects’ patches (middle) are moved from their own side towards the other: in the KV "
            f"head of the strongest feature-retrieval head, in those of the strongest {int(summary['k'][0])}, or in "
            "all KV heads of their layers (the paper’s edit, dose 2). Right: "
            f"{layers if _controls(summary)['random layers'] else ''}random directions "
            f"of equal length in the paper’s layers. Dotted: without an edit. Bars: {level_of(summary)} Wilson "
            "intervals; reporting half."
        ),
        figure=figure,
        csv=tidy(summary, EFFECTS),
    )


def sides(summary: xr.Dataset) -> NamedFigure:
    """Left, right and pooled of the paper's edit, at every dose."""
    figure = canvas(4.6, 2.7)
    axes = figure.subplots()
    part = summary.sel(edit=PAPER)
    x = np.arange(part.sizes["dose"])
    for place, (group, pen) in enumerate(zip(part["group"].values.tolist(), (ORANGE, BLUE, GREEN), strict=False)):
        points(axes, x + 0.15 * (place - 1), part.sel(group=group), "after", pen, _queried(group))
    axes.set_xticks(x, [f"{dose:g}" for dose in part["dose"].values])
    axes.set(xlabel="dose", ylabel="share naming the other colour", ylim=SHARES)
    axes.set(title="all keys of the layers, both objects")
    axes.legend(loc="upper left")
    return NamedFigure(
        name="key-swap-sides",
        title="Left, right and pooled",
        caption=(
            "The paper’s edit by the side on which the queried object stands, and pooled. A model that merely came to "
            "answer with the object on one side would be high on one side and low on the other. Bars: "
            f"{level_of(summary)} Wilson intervals."
        ),
        figure=figure,
        csv=tidy(part.drop_vars("edit"), EFFECTS),
    )


def _queried(group: str) -> str:
    return "pooled" if group == "all" else f"{group} object queried"


def key_swap_findings(summary: xr.Dataset) -> Findings:
    """The results in words and in a table."""
    chosen = float(summary["chosen_dose"])
    shown = [dose for dose in summary["dose"].values.tolist() if dose in (2.0, chosen)]
    at_dose = summary.sel(dose=chosen)
    paper, pooled = at_dose.sel(edit=PAPER), at_dose.sel(group="all")
    after = pooled["after"]
    reached = ", ".join(
        f"{reach} ({edited}) {float(after.sel(edit=edit_name(reach, edited))):.1%}"
        for edited in EDITED
        for reach in REACHES
    )
    (row,), choice = key_swap_effects(summary), choice_of(pooled.sel(edit=PAPER))
    directions = float(after.sel(edit=_controls(summary)["random direction"]).max())
    return Findings(
        title="keys of two objects swapped",
        headline=(
            f"With the keys of both objects swapped (dose {chosen:g}), {share_of(pooled.sel(edit=PAPER), 'after')} of "
            "colour questions are answered with the other object’s colour "
            f"({float(pooled['before'].sel(edit=PAPER)):.1%} without; {n_and_p(pooled.sel(edit=PAPER))})."
        ),
        sentences=(
            f"all keys of the layers, both objects, {', '.join(filter(None, (f'dose {chosen:g}', choice)))}: "
            f"{before_and_after(pooled.sel(edit=PAPER))}; {row.controls_text}",
            "; ".join(f"{_queried(side)}: {share_of(paper.sel(group=side), 'after')}" for side in ("left", "right")),
            f"at that dose: {reached}",
            f"at most {directions:.1%} with random directions",
            _with_other_layers(pooled),
            f"without an edit {float(summary['right_before']):.1%} are right",
            *_cut(summary),
            f"edited layers and KV heads: {summary['heads'].sel(edit=PAPER).item()}",
            *tie_notes(summary["warning"], summary["k"].values.tolist()),
        ),
        columns=("dose", "edit", "queried", *EFFECT_COLUMNS),
        rows=tuple(
            row for dose in shown for row in rows_by_set(summary.sel(dose=dose), f"{dose:g}", dim="edit", main=PAPER)
        ),
        method=(
            "Two objects stand side by side; the question is about the colour of one. Keys are edited before rotary "
            "positions at the image tokens that an object covers in part or whole: dose × (mean key of objects on the "
            "other side − mean key of objects on its own side), one vector for each layer and KV head. Means are over "
            f"all patches of {summary.attrs['estimation']} other pictures in which colours and shapes stand on both "
            "sides.",
            "Layers are those that hold one of the strongest heads of feature retrieval by causal mediation. The dose "
            f"was selected on half of the questions. {rule(summary)} {tested(summary)}",
        ),
    )


def _with_other_layers(effects: xr.Dataset) -> str:
    """The control of other layers, and how far they are other ones; ``effects`` has the dim edit."""
    draws = effects.sel(edit=_controls(effects)["random layers"])
    if not draws.sizes["edit"]:
        return "every layer holds one of the strongest heads, so there are no other layers to compare with"
    edited = set(effects["heads"].sel(edit=PAPER).item().split())
    others = [set(text.split()) for text in draws["heads"].values.tolist()]
    shared, count = max(len(edited & other) for other in others), min(map(len, others))
    which = (
        "as many other layers"
        if count == len(edited)
        else f"the {count} other layers that there are ({len(edited)} are edited)"
    )
    note = f" (up to {shared} of {len(edited)} are edited ones, as there are not enough others)" if shared else ""
    return f"at most {float(draws['after'].max()):.1%} with {which}{note}"


def _cut(summary: xr.Dataset) -> tuple[str, ...]:
    """The default K, where the model is too small for it."""
    asked, used = int(summary.attrs["k"]), int(summary["k"][0])
    return () if asked == used else (f"K is {used}, half of all heads, as the default of {asked} is more",)


def key_swap_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """The paper's edit at the chosen dose, both sides together."""
    dose = float(summary["chosen_dose"])
    part = summary.sel(dose=dose, group="all")
    controls = [name for names in _controls(summary).values() for name in names]
    setting = f"layers of K = {int(summary['k'][0])}, dose {dose:g}"
    alpha = float(summary.attrs["alpha"])
    return (
        EffectRow.of(
            "the other object, keys swapped", setting, part.sel(edit=PAPER), part.sel(edit=controls), alpha=alpha
        ),
    )
