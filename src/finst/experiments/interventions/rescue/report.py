"""Figure and findings of ``rescue`` (Table 1)."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from finst.experiments.interventions.effect_rows import EFFECTS, EffectRow
from finst.experiments.interventions.figures import KINDS, draws_of, over_ks, points
from finst.experiments.interventions.sentences import (
    EFFECT_COLUMNS,
    before_and_after,
    choice_of,
    control_notes,
    cut_notes,
    effect_row,
    n_and_p,
    rule,
    share_of,
    shares_of,
    tested,
    tie_notes,
)
from finst.report.curves import AMBER, BLUE, GREEN, ORANGE, PURPLE
from finst.report.figures import FAINT, NamedFigure, canvas, styled
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import counted, level_of, probability

WRONG = "wrong cell"
"""The control of content: the strongest heads put out the prototype of another cell."""

PARTS = {"answer": "whole answer", "colour": "colour"}
"""What is compared with high entropy: the missing object's name, or its colour."""

SCORES = (*PARTS, "elsewhere", "elsewhere colour")
"""What a text begins with: the missing object, its colour, the object in the wrong cell, that one's colour."""


@styled
def rescue_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figure of a summary with dims grid, set, k, score."""
    return (curves(summary),)


def curves(summary: xr.Dataset) -> NamedFigure:
    """Whole answers over K, a panel a grid, and what is named with the wrong cell's prototype."""
    figure = canvas(7.2, 2.9)
    grids = summary["grid"].values.tolist()
    panels = figure.subplots(1, 2 * len(grids), sharey=True)
    for place, grid in enumerate(grids):
        part = summary.sel(grid=grid)
        right, wrong = panels[2 * place : 2 * place + 2]
        _right_cell(right, part)
        _wrong_cell(wrong, part)
        right.set(title=f"{grid}: right cell’s")
        wrong.set(title=f"{grid}: wrong cell’s")
    panels[0].set(ylabel="share of texts")
    handles, labels = (
        [*a, *b]
        for a, b in zip(panels[0].get_legend_handles_labels(), panels[1].get_legend_handles_labels(), strict=True)
    )
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return NamedFigure(
        name="rescue",
        title="Low entropy with selection outputs of high entropy",
        caption=(
            "Share of low-entropy pictures whose missing object is named (colour and shape). The outputs of K heads at "
            "the last token become the prototype of its cell. In every second panel those of the strongest heads "
            "become the prototype of another object’s cell instead, and shares are those of texts that name that "
            "object, or its colour. Hollow, K = 0: unedited. Dashed: high entropy, unedited. Dotted: the K selected on "
            f"the other half. Bars: {level_of(summary)} Wilson intervals. Compare Table 1."
        ),
        figure=figure,
        csv=tidy(summary, EFFECTS),
    )


def _right_cell(axes: Axes, part: xr.Dataset) -> None:
    x = over_ks(axes, part["k"].values.tolist(), int(part["chosen_k"]))
    answers = part.sel(score="answer")
    points(axes, np.array([0.0]), answers.sel(set="top").isel(k=[0]), "before", ORANGE, "_", filled=False)
    axes.axhline(float(part["high"].sel(part="answer")), color=FAINT, lw=0.8, ls="--", zorder=0)
    for place, (name, pen) in enumerate(zip(KINDS, (ORANGE, GREEN, PURPLE), strict=True)):
        for index, draw in enumerate(draws_of(part, name)):
            label = KINDS[name] if index == 0 else "_"
            moved = x + 0.2 * (place - 1) + 0.07 * index
            points(axes, moved, answers.sel(set=draw), "after", pen, label, line=True)


def _wrong_cell(axes: Axes, part: xr.Dataset) -> None:
    x = over_ks(axes, part["k"].values.tolist(), int(part["chosen_k"]))
    named = {"elsewhere colour": ("that cell’s colour", BLUE), "elsewhere": ("that cell’s object", AMBER)}
    for place, (score, (label, pen)) in enumerate(named.items()):
        effects, shift = part.sel(set=WRONG, score=score), 0.16 * (place - 0.5)
        points(axes, np.array([shift]), effects.isel(k=[0]), "before", pen, "_", filled=False)
        points(axes, x + shift, effects, "after", pen, label, line=True)


def rescue_findings(summary: xr.Dataset) -> Findings:
    """The results in words and in a table."""
    grids = [_at_chosen(summary, grid) for grid in summary["grid"].values.tolist()]
    columns = {"before": "low entropy", "after": "low, edited"}
    return Findings(
        title="low entropy with selection outputs of high entropy",
        headline="; ".join(map(_headline, grids)) + ".",
        sentences=(
            *(sentence for at in grids for sentence in _findings(at)),
            *(_over_ks(summary.sel(grid=at["grid"].item())) for at in grids),
            *tie_notes(summary["warning"], [int(at["chosen_k"]) for at in grids]),
            *control_notes(summary["heads"], [int(at["chosen_k"]) for at in grids]),
            *cut_notes(summary),
        ),
        columns=(
            *("grid", "score", "heads", "K", "high entropy"),
            *(columns.get(name, name) for name in EFFECT_COLUMNS),
            "wrong before, right after",
        ),
        rows=tuple(_row(at, part, name) for at in grids for part in PARTS for name in summary["set"].values.tolist()),
        method=(
            "Low entropy: all conjunctions of two (2x2 grid) or three (3x3) colours and shapes. High entropy: objects "
            "that differ as far as possible. Objects are new in every picture, and every object stands in every cell "
            "equally often. All objects but one are described, in random order, and the model continues greedily.",
            "Prototypes are the mean outputs of each head at the last token by the cell of the missing object, over "
            "other high-entropy pictures that the model describes exactly "
            f"({_estimated(summary)}). They replace the outputs of the strongest heads of ID selection at the last "
            "token. Controls are other heads, and the prototype of another cell, whose object differs in colour and "
            "shape. K was selected on half of the trials, by whole answers. “High entropy” is of all trials. "
            f"{rule(summary)} {tested(summary)}",
        ),
    )


def _at_chosen(summary: xr.Dataset, grid: str) -> xr.Dataset:
    """One grid at its selected K: dims set, score, part."""
    return summary.sel(grid=grid, k=int(summary["chosen_k"].sel(grid=grid)))


def _row(at: xr.Dataset, part: str, name: str) -> tuple[str, ...]:
    effect = at.sel(set=name, score=part)
    high = share_of(at.sel(part=part), "high")
    turned = f"{int(effect['gained'])} of {int(effect['wrong_before'])}"
    return (at["grid"].item(), PARTS[part], name, str(int(at["k"])), high, *effect_row(effect), turned)


def _headline(at: xr.Dataset) -> str:
    top, high = at.sel(set="top", score="answer"), float(at["high"].sel(part="answer"))
    return (
        f"{at['grid'].item()}: {high:.1%} right in high entropy, {float(top['before']):.1%} in low, "
        f"{share_of(top, 'after')} in low with the prototypes of {counted(int(at['k']), 'head')} ({n_and_p(top)})"
    )


def _findings(at: xr.Dataset) -> tuple[str, ...]:
    """The answers of one grid with either prototype."""
    top, wrong, grid = at.sel(set="top"), at.sel(set=WRONG), at["grid"].item()
    answer = top.sel(score="answer")
    other, colour = (wrong.sel(score=score) for score in ("elsewhere", "elsewhere colour"))
    row = _effect(at)
    return (
        f"{grid}, {', '.join(filter(None, (row.setting, choice_of(top))))}: {before_and_after(answer)}; "
        f"{row.controls_text}",
        f"{grid}: of {int(answer['wrong_before'])} wrong before, {_rescued(answer)} after, "
        f"and {int(answer['lost'])} that were right are wrong",
        f"{grid}: {_room(answer)}",
        f"{grid}, the wrong cell’s prototype: {share_of(wrong.sel(score='answer'), 'after')} still name the missing "
        f"object ({probability(float(answer['against_wrong']), 'the right cell’s prototype')}), "
        f"{share_of(colour, 'after')} begin with the colour in that cell ({float(colour['before']):.1%} before), "
        f"{share_of(other, 'after')} with its object",
    )


def _over_ks(part: xr.Dataset) -> str:
    """The effect of either prototype with every K, on the reporting half."""
    right, wrong = (part["after"].sel(set=name, score="answer") for name in ("top", WRONG))
    colour = part["after"].sel(set=WRONG, score="elsewhere colour")
    ks = ", ".join(map(str, part["k"].values.tolist()))
    return (
        f"{part['grid'].item()}, over K = {ks}: right answers with the right cell’s prototype {shares_of(right)}, with "
        f"the wrong cell’s {shares_of(wrong)}; the wrong cell’s colour {shares_of(colour)}"
    )


def _rescued(answer: xr.Dataset) -> str:
    gained = int(answer["gained"])
    return f"{gained} are right ({share_of(answer, 'rescued')})" if int(answer["wrong_before"]) else "0 are right"


def _room(answer: xr.Dataset) -> str:
    """Whether the baseline leaves room for a gain that the test could show."""
    fewest, wrong, n = int(answer["fewest"]), int(answer["wrong_before"]), int(answer["n"])
    needed = f"the smallest gain that the test can show is {fewest} of {n} trials ({fewest / n:.1%})"
    room = f"{needed}, and {wrong} were wrong before (at most {wrong / n:.1%} to gain)"
    return f"no rescue can be shown: {room}" if wrong < fewest else room


def _estimated(summary: xr.Dataset) -> str:
    return "; ".join(
        f"{grid}: {float(summary['estimated_right'].sel(source=grid)):.1%} of them, at least "
        f"{int(summary['estimated_from'].sel(source=grid))} a cell"
        for grid in summary["source"].values.tolist()
    )


def rescue_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Whole answers on each grid."""
    grids = [_at_chosen(summary, grid) for grid in summary["grid"].values.tolist()]
    return tuple(map(_effect, grids))


def _effect(at: xr.Dataset) -> EffectRow:
    return EffectRow.of_top(
        f"low entropy, {at['grid'].item()}: the missing object is named",
        f"K = {int(at['k'])}",
        at.sel(score="answer"),
        alpha=float(at.attrs["alpha"]),
    )
