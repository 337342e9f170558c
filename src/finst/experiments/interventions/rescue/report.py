"""Figure and account of ``rescue`` (Table 1)."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from finst.experiments.interventions.effect_table import EffectRow
from finst.experiments.interventions.figures import (
    EFFECT_COLUMNS,
    EFFECTS,
    KINDS,
    effect_row,
    kind,
    points,
    share_of,
    shares_of,
    tested,
    tie_warning,
)
from finst.report.curves import AMBER, BLUE, GREEN, ORANGE, PURPLE
from finst.report.figures import FAINT, STYLE, NamedFigure, canvas
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import level_of, probability

WRONG = "wrong cell"

PARTS = {"answer": "whole answer", "colour": "colour"}


def rescue_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims grid, set, k, score."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return (curves(summary),)


def curves(summary: xr.Dataset) -> NamedFigure:
    """Whole answers over K, a panel a grid, and what the wrong cell's prototype makes the model say."""
    figure = canvas(7.2, 2.9)
    grids = summary["grid"].values.tolist()
    panels = figure.subplots(1, 2 * len(grids), sharey=True)
    for place, grid in enumerate(grids):
        part = summary.sel(grid=grid)
        right, wrong = panels[2 * place : 2 * place + 2]
        _right(right, part)
        _wrong(wrong, part)
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
            "Share of low-entropy pictures whose missing object is named (colour and shape) when the outputs of K "
            "heads at the last token become the prototype of its cell, and, in every second panel, when those of the "
            "strongest heads become the prototype of another object’s cell: how often that object, or its colour, is "
            "named. Hollow, K = 0: unedited. Dashed: high entropy, unedited. Dotted: K chosen on the other half. "
            f"{level_of(summary)} Wilson intervals. Compare Table 1."
        ),
        figure=figure,
        csv=tidy(summary, [*EFFECTS]),
    )


def _ticks(axes: Axes, part: xr.Dataset) -> np.ndarray:
    """Places of all K but 0."""
    ks = part["k"].values.tolist()
    x = np.arange(1, len(ks) + 1)
    axes.set_xticks(range(len(ks) + 1), ["0", *map(str, ks)])
    axes.set(xlabel="K", ylim=(-0.03, 1.03))
    axes.axvline(1 + ks.index(int(part["chosen_k"])), color=FAINT, lw=0.8, ls=":", zorder=0)
    return x


def _right(axes: Axes, part: xr.Dataset) -> None:
    x = _ticks(axes, part)
    answers = part.sel(score="answer")
    points(axes, np.array([0.0]), answers.sel(set="top").isel(k=[0]), "before", ORANGE, "_", filled=False)
    axes.axhline(float(part["high"].sel(part="answer")), color=FAINT, lw=0.8, ls="--", zorder=0)
    for place, (name, pen) in enumerate({"top": ORANGE, "random": GREEN, "layer-matched": PURPLE}.items()):
        draws = ["top"] if name == "top" else kind(part, name)["set"].values.tolist()
        for index, draw in enumerate(draws):
            values, moved = answers.sel(set=draw), x + 0.2 * (place - 1) + 0.07 * index
            points(axes, moved, values, "after", pen, KINDS[name] if index == 0 else "_")
            axes.plot(moved, values["after"], color=pen.colour, ls=pen.line, lw=1)


def _wrong(axes: Axes, part: xr.Dataset) -> None:
    x = _ticks(axes, part)
    said = {"elsewhere colour": ("that cell’s colour", BLUE), "elsewhere": ("that cell’s object", AMBER)}
    for place, (score, (label, pen)) in enumerate(said.items()):
        values, shift = part.sel(set=WRONG, score=score), 0.16 * (place - 0.5)
        points(axes, np.array([shift]), values.isel(k=[0]), "before", pen, "_", filled=False)
        points(axes, x + shift, values, "after", pen, label)
        axes.plot(x + shift, values["after"], color=pen.colour, ls=pen.line, lw=1)


def rescue_findings(summary: xr.Dataset) -> Findings:
    """Of ``rescue``."""
    grids = summary["grid"].values.tolist()
    at = {grid: summary.sel(grid=grid, k=int(summary["chosen_k"].sel(grid=grid))) for grid in grids}
    rows = [
        (
            grid,
            PARTS[part],
            str(name),
            str(int(one["chosen_k"])),
            share_of(one.sel(part=part), "high"),
            *_effect(one, str(name), part),
        )
        for grid, one in at.items()
        for part in PARTS
        for name in summary["set"].values.tolist()
    ]
    warned = tie_warning(summary["warning"], [int(one["chosen_k"]) for one in at.values()])
    return Findings(
        title="low entropy with selection outputs of high entropy",
        headline="; ".join(_headline(grid, one) for grid, one in at.items()) + ".",
        sentences=(
            *(finding for grid, one in at.items() for finding in _findings(grid, one)),
            *(_over_ks(summary.sel(grid=grid)) for grid in grids),
            *([f"of the heads: {warned}"] if warned else []),
        ),
        columns=("grid", "score", "heads", "K", "high entropy", *_columns(), "wrong before, right after"),
        rows=tuple(rows),
        method=(
            "Low entropy: all conjunctions of two (2x2 grid) or three (3x3) colours and shapes; high entropy: objects "
            "that differ as far as possible. Objects are new in every picture, and every one stands in every cell "
            "equally often. All objects but one are described, in random order, and the model goes on, greedily.",
            "Prototypes are the mean outputs of each head at the last token by the cell of the missing object, over "
            "other high-entropy pictures that the model describes exactly "
            f"({_estimated(summary)}). They replace the outputs of the strongest heads of ID selection at the last "
            "token; controls are other heads, and the prototype of another cell, whose object differs in colour and "
            f"shape. K was chosen on half of the trials; all but “high entropy” is of the other half. "
            f"{tested(summary)}",
        ),
    )


def _columns() -> tuple[str, ...]:
    names = {"before": "low entropy", "after": "low, edited"}
    return tuple(names.get(name, name) for name in EFFECT_COLUMNS)


def _effect(one: xr.Dataset, name: str, part: str) -> tuple[str, ...]:
    found = one.sel(set=name, score=part)
    return (*effect_row(found), f"{int(found['gained'])} of {int(found['wrong_before'])}")


def _headline(grid: str, one: xr.Dataset) -> str:
    top, high = one.sel(set="top", score="answer"), float(one["high"].sel(part="answer"))
    return (
        f"{grid}: {high:.1%} right in high entropy, {float(top['before']):.1%} in low, "
        f"{float(top['after']):.1%} in low with {int(top['chosen_k'])} heads’ prototypes"
    )


def _findings(grid: str, one: xr.Dataset) -> tuple[str, ...]:
    top, wrong = one.sel(set="top"), one.sel(set=WRONG)
    answer = top.sel(score="answer")
    other, colour = (wrong.sel(score=score) for score in ("elsewhere", "elsewhere colour"))
    return (
        f"{grid}: {share_of(answer, 'before')} before, {share_of(answer, 'after')} after, "
        f"{probability(float(answer['p']))}; of {int(answer['wrong_before'])} wrong before, {_rescued(answer)} after, "
        f"and {int(answer['lost'])} that were right are wrong",
        f"{grid}: {_room(answer)}",
        f"{grid}, the wrong cell’s prototype: {share_of(wrong.sel(score='answer'), 'after')} still name the missing "
        f"object ({probability(float(answer['against_wrong']))} against the right cell’s), "
        f"{share_of(colour, 'after')} begin with the colour in that cell ({float(colour['before']):.1%} before), "
        f"{share_of(other, 'after')} with its object",
    )


def _over_ks(part: xr.Dataset) -> str:
    """What either prototype does with every K, on the reporting half."""
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
    if wrong < fewest:
        return f"no rescue can be shown: {needed}, and {wrong} were wrong before (at most {wrong / n:.1%} to gain)"
    return f"{needed}, and {wrong} were wrong before (at most {wrong / n:.1%} to gain)"


def _estimated(summary: xr.Dataset) -> str:
    return "; ".join(
        f"{grid}: {float(summary['estimated_right'].sel(source=grid)):.1%} of them, at least "
        f"{int(summary['estimated_from'].sel(source=grid))} a cell"
        for grid in summary["source"].values.tolist()
    )


def rescue_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Whole answers on each grid."""
    rows = []
    for grid in summary["grid"].values.tolist():
        k = int(summary["chosen_k"].sel(grid=grid))
        part = summary.sel(grid=grid, k=k, score="answer")
        told = (part.sel(set="top"), part.sel(set=part["set"] != "top"))
        rows.append(EffectRow.of(f"low entropy, {grid}: the missing object is named", f"K = {k}", *told))
    return tuple(rows)
