"""Figures and account of ``key-swap`` (Fig 4)."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr

from finst.experiments.interventions.effect_table import EffectRow
from finst.experiments.interventions.figures import (
    EFFECT_COLUMNS,
    EFFECTS,
    effect_row,
    points,
    share_of,
    tested,
    tie_warning,
)
from finst.report.curves import BLUE, GREEN, ORANGE, PENS, PURPLE
from finst.report.figures import STYLE, NamedFigure, canvas
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import level_of, probability

PAPER = "layers, both"

REACHES = {"one KV head": BLUE, "KV heads": GREEN, "layers": ORANGE}

SIDES = ("queried", "both")


def key_swap_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims edit, dose, group."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return (doses(summary), sides(summary))


def _controls(summary: xr.Dataset) -> dict[str, list[str]]:
    names = summary["edit"].values.tolist()
    return {kind: [name for name in names if name.startswith(kind)] for kind in ("random layers", "random direction")}


def doses(summary: xr.Dataset) -> NamedFigure:
    """The dose curve of every edit: a panel for one side, one for both, one for controls."""
    figure = canvas(7.2, 2.7)
    panels = figure.subplots(1, 3, sharey=True)
    part = summary.sel(group="all")
    x = np.arange(part.sizes["dose"])
    for axes, of in zip(panels, SIDES, strict=False):
        for place, (reach, pen) in enumerate(REACHES.items()):
            values = part.sel(edit=f"{reach}, {of}")
            points(axes, x + 0.12 * (place - 1), values, "after", pen, reach)
            axes.plot(x + 0.12 * (place - 1), values["after"], color=pen.colour, ls=pen.line, lw=1)
        axes.set(title="queried object alone" if of == "queried" else "both objects")
    for place, (name, draws) in enumerate(_controls(summary).items()):
        pen = (PURPLE, PENS[0])[place]
        for index, draw in enumerate(draws):
            values = part.sel(edit=draw)
            moved = x + 0.24 * (place - 0.5) + 0.08 * index
            points(panels[2], moved, values, "after", pen, name if index == 0 else "_", filled=place == 0)
    panels[2].set(title="controls, both objects")
    for axes in panels:
        axes.set_xticks(x, [f"{dose:g}" for dose in part["dose"].values])
        axes.set(xlabel="dose", ylim=(-0.03, 1.03))
        axes.axhline(float(part["before"].max()), color="#8a929e", lw=0.8, ls=":")
    panels[0].set(ylabel="share naming the other colour")
    panels[0].legend(loc="upper left")
    panels[2].legend(loc="upper left")
    return NamedFigure(
        name="key-swap-dose",
        title="Keys of two objects swapped, by dose",
        caption=(
            "Share of colour questions answered with the other object’s colour when keys at the queried object’s "
            "patches (left) or at both objects’ patches (middle) are moved from their own index towards the other "
            "one’s: in the KV head of the strongest feature-retrieval head, in those of the strongest "
            f"{int(summary['k'][0])}, or in all KV heads of their layers (the paper’s edit, dose 2). Right: "
            f"{'as many whole layers at random, and ' if _controls(summary)['random layers'] else ''}random directions "
            f"of equal length in the paper’s layers. Dotted: without an edit. {level_of(summary)} Wilson intervals; "
            "reporting half."
        ),
        figure=figure,
        csv=tidy(summary, list(EFFECTS)),
    )


def sides(summary: xr.Dataset) -> NamedFigure:
    """Left, right and pooled of the paper's edit, at every dose."""
    figure = canvas(4.6, 2.7)
    axes = figure.subplots()
    part = summary.sel(edit=PAPER)
    x = np.arange(part.sizes["dose"])
    for place, (group, pen) in enumerate(zip(part["group"].values.tolist(), (ORANGE, BLUE, GREEN), strict=False)):
        points(axes, x + 0.15 * (place - 1), part.sel(group=group), "after", pen, _asked(group))
    axes.set_xticks(x, [f"{dose:g}" for dose in part["dose"].values])
    axes.set(xlabel="dose", ylabel="share naming the other colour", ylim=(-0.03, 1.03))
    axes.set(title="all keys of the layers, both objects")
    axes.legend(loc="upper left")
    return NamedFigure(
        name="key-swap-sides",
        title="Left, right and pooled",
        caption=(
            "The paper’s edit by the side on which the queried object stands, and pooled. A model that merely answers "
            f"with one side would be high on one and low on the other. {level_of(summary)} Wilson intervals."
        ),
        figure=figure,
        csv=tidy(part.drop_vars("edit"), list(EFFECTS)),
    )


def _asked(group: str) -> str:
    return "pooled" if group == "all" else f"{group} object queried"


def key_swap_findings(summary: xr.Dataset) -> Findings:
    """Of ``key-swap``."""
    chosen = float(summary["chosen_dose"])
    shown = [dose for dose in summary["dose"].values.tolist() if dose in (2.0, chosen)]
    rows = []
    for dose in shown:
        for name in summary["edit"].values.tolist():
            for group in summary["group"].values.tolist() if name == PAPER else ["all"]:
                at = summary.sel(edit=name, dose=dose, group=group)
                rows.append((name, f"{dose:g}", group, *effect_row(at)))
    best = summary.sel(edit=PAPER, dose=chosen)
    pooled = best.sel(group="all")
    at_dose = summary.sel(dose=chosen, group="all")
    directions = float(at_dose["after"].sel(edit=_controls(summary)["random direction"]).max())
    steps = ", ".join(
        f"{name} {float(at_dose['after'].sel(edit=f'{reach}, {of}')):.1%}"
        for of in SIDES
        for reach, name in ((reach, f"{reach} ({of})") for reach in REACHES)
    )
    warned = tie_warning(summary["warning"], summary["k"].values.tolist())
    return Findings(
        title="keys of two objects swapped",
        headline=(
            f"With the keys of both objects swapped (dose {chosen:g}), {float(pooled['after']):.1%} of colour "
            f"questions are answered with the other object’s colour ({float(pooled['before']):.1%} without)."
        ),
        sentences=(
            f"all keys of the layers, both objects, dose {chosen:g}: {share_of(pooled, 'before')} before, "
            f"{share_of(pooled, 'after')} after, n = {int(pooled['n'])}, {probability(float(pooled['p']))}",
            "; ".join(f"{_asked(side)}: {share_of(best.sel(group=side), 'after')}" for side in ("left", "right")),
            f"at that dose: {steps}",
            f"at most {directions:.1%} with random directions",
            _with_other_layers(at_dose),
            f"without an edit {float(summary['right_before']):.1%} are right",
            f"edited layers and KV heads: {summary['heads'].sel(edit=PAPER).item()}",
            *([f"of the heads: {warned}"] if warned else []),
        ),
        columns=("edit", "dose", "queried", *EFFECT_COLUMNS),
        rows=tuple(rows),
        method=(
            "Two objects side by side; the user asks for the colour of one. Keys are edited before rotary positions at "
            "the image tokens that an object covers in part or whole: dose × (mean key of objects on the other side − "
            "mean key of objects on its own side), one vector for each layer and KV head, over all patches of "
            f"{summary.attrs['estimation']} other pictures in which colours and shapes stand on both sides.",
            "Layers are those that hold one of the strongest heads of feature retrieval by causal mediation. The dose "
            f"was chosen on half of the questions; everything else is of the other half. {tested(summary)}",
        ),
    )


def _with_other_layers(at_dose: xr.Dataset) -> str:
    """What the control of other layers says, and what it cannot."""
    draws = at_dose.sel(edit=_controls(at_dose)["random layers"])
    if not draws.sizes["edit"]:
        return "every layer holds one of the strongest heads, so that there are no other layers to compare with"
    edited = set(at_dose["heads"].sel(edit=PAPER).item().split())
    shared = max(len(edited.intersection(text.split())) for text in draws["heads"].values.tolist())
    told = f" (up to {shared} of {len(edited)} are edited ones, as there are not enough others)" if shared else ""
    return f"at most {float(draws['after'].max()):.1%} with as many other layers{told}"


def key_swap_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """The paper's edit at the chosen dose, both sides together."""
    dose = float(summary["chosen_dose"])
    part = summary.sel(dose=dose, group="all")
    controls = [name for names in _controls(summary).values() for name in names]
    setting = f"layers of K = {int(summary['k'][0])}, dose {dose:g}"
    return (EffectRow.of("the other object, keys swapped", setting, part.sel(edit=PAPER), part.sel(edit=controls)),)
