"""Figures and findings of ``coco`` (Figs 44, 45)."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from textwrap import shorten

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from finst.experiments.interventions.effect_rows import EFFECTS, EffectRow
from finst.experiments.interventions.figures import KINDS, draws_of
from finst.experiments.interventions.sentences import (
    EFFECT_COLUMNS,
    before_and_after,
    choice_of,
    control_notes,
    cut_notes,
    effect_row,
    intervals,
    n_and_p,
    rule,
    share_of,
    tie_notes,
)
from finst.experiments.interventions.shown_pictures import READING, reading_lines
from finst.report.curves import BLUE, GREEN, ORANGE, PURPLE, Pen
from finst.report.figures import FAINT, INK, NamedFigure, canvas, styled
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import counted, level_of
from finst.scenes.picture_files import listed

RULES = {"exact": "the whole phrase", "lenient": "the head noun"}
"""When two phrases are one thing: all of their words are equal, or their head nouns are."""

SECOND = "second slot"
"""The strongest heads again, but with their mean outputs at the second slot: any mean would do if this did too."""

BARS: Mapping[str, tuple[Pen, str]] = {
    "top": (ORANGE, "strongest heads"),
    SECOND: (BLUE, "the same, second slot’s means"),
    "random": (GREEN, KINDS["random"]),
    "layer-matched": (PURPLE, KINDS["layer-matched"]),
}
"""Bars side by side for every K."""


@styled
def coco_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figures of a summary with dims match, set, k, group, split, trial, shown."""
    return (bars(summary), strip(summary))


def bars(summary: xr.Dataset) -> NamedFigure:
    """Shares of repeats for every K, a panel a rule of matching."""
    figure = canvas(7.2, 3.0)
    panels = figure.subplots(1, len(RULES), sharey=True)
    splits = [name for name in summary["group"].values.tolist() if name.startswith("split")]
    for axes, (match, words) in zip(panels, RULES.items(), strict=True):
        part = summary.sel(match=match)
        x, width = np.arange(part.sizes["k"]), 0.2
        for place, (name, (pen, label)) in enumerate(BARS.items()):
            draws = [name] if name == SECOND else draws_of(part, name)
            at, effects = x + width * (place - 1.5), part.sel(set=draws, group="all")
            axes.bar(at, effects["after"].mean("set"), width * 0.9, color=pen.colour, alpha=0.75, label=label)
            axes.vlines(at, effects["after_low"].min("set"), effects["after_high"].max("set"), color=INK, lw=0.8)
            dots = part["after"].sel(set=draws, group=splits).stack(dot=("set", "group")).transpose("k", "dot").values
            axes.plot(at, dots, ls="", marker=".", ms=3, color=INK, zorder=3)
        before = part.sel(group="all", set="top").isel(k=0)
        axes.axhline(float(before["before"]), color=INK, lw=1, ls=":", label="without an edit")
        axes.axhspan(float(before["before_low"]), float(before["before_high"]), color=FAINT, alpha=0.25, lw=0)
        axes.set_xticks(x, [str(k) for k in part["k"].values.tolist()])
        axes.set(title=f"{match}: {words}", xlabel="K", ylim=(0, 1.03))
    panels[0].set(ylabel="share that repeats the first thing")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return NamedFigure(
        name="coco",
        title="Naming the first thing again",
        caption=(
            "Share of pictures in which the first named thing is named again where the second one is due, by the "
            "number of heads whose outputs are replaced with their means at the first slot (blue: at the second slot, "
            f"which should change nothing). Bars: each picture once, {level_of(summary)} Wilson intervals (widest of "
            "the draws). Dots: the single splits. Dotted and grey: without an edit. Compare Fig 45."
        ),
        figure=figure,
        csv=tidy(summary, EFFECTS),
    )


def strip(summary: xr.Dataset) -> NamedFigure:
    """Some pictures with the model's words before and after."""
    shown = summary["shown"].values.tolist()
    k = int(summary["chosen_k"].sel(match="lenient"))
    columns = max(1, min(4, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    figure = canvas(7.2, 2.3 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["picture", "split", "k", "first", "before", "after"])
    for axes in panels:
        axes.set_axis_off()
    for axes, trial in zip(panels, shown, strict=False):
        at = summary.sel(trial=trial)
        split = int(at["split"].values[at["target"].values.argmax()])
        words = {
            "first": str(at["first"].item()),
            "before": str(at["said_before"].item()),
            "after": str(at["said"].sel(split=split, set="top", k=k).item()),
        }
        _picture(axes, summary["thumbnail"].sel(shown=trial).values, words)
        writer.writerow([at["picture"].item(), split, k, *words.values()])
    return NamedFigure(
        name="coco-pictures",
        title="Some of the pictures",
        caption=(
            "The first targets, not selected by their result: the thing that the model names first, and how it "
            f"continues where the second thing is due, without an edit and with the outputs of the top {k} selection "
            "heads replaced."
        ),
        figure=figure,
        csv=table.getvalue(),
    )


def _picture(axes: Axes, image: np.ndarray, words: Mapping[str, str]) -> None:
    axes.set_axis_on()
    axes.imshow(image)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=FAINT, lw=0.6)
    lines = [f"{name}: {shorten(words[name], 26, placeholder='…')}" for name in words]
    axes.text(0, -0.03, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=6.5, color=INK, parse_math=False)


def left_out(summary: xr.Dataset) -> tuple[str, ...]:
    """How many pictures were not used and why; by name where they could not be shown or were there already."""
    counts = Counter(reason for reason in summary["reason"].values.tolist() if reason)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    whole = f"{counts.total()} of {summary.sizes['trial']} pictures are left out{': ' if reasons else ''}{reasons}"
    damaged = summary["picture"].values[summary["reason"].values == "unreadable"].tolist()
    if READING in summary or not damaged:
        return (whole, *reading_lines(summary))
    return whole, f"files that cannot be read: {listed(damaged)}"


def _annotated(summary: xr.Dataset) -> tuple[str, ...]:
    """Whether the first thing is in the picture, where that is known from annotations."""
    kept = summary["annotated"].values[(summary["reason"].values == "") & (summary["annotated"].values >= 0)]
    if not len(kept):
        return ()
    return (f"the first thing is among what is known to be in the picture in {kept.mean():.1%} of {len(kept)}",)


def _rows(summary: xr.Dataset, match: str, chosen: int) -> list[tuple[str, ...]]:
    """All K of both means; splits, the reporting half and controls at the chosen K."""
    groups = summary["group"].values.tolist()
    return [
        (match, name, str(k), group, *effect_row(summary.sel(match=match, set=name, k=k, group=group)))
        for name in summary["set"].values.tolist()
        for k in (summary["k"].values.tolist() if name in ("top", SECOND) else [chosen])
        for group in (groups if name == "top" and k == chosen else ["all"])
    ]


def coco_findings(summary: xr.Dataset) -> Findings:
    """The results in words and in a table."""
    chosen = {match: int(summary["chosen_k"].sel(match=match)) for match in RULES}
    reported = {match: summary.sel(match=match, set="top", group="reporting", k=k) for match, k in chosen.items()}
    exact, lenient = (reported[match] for match in RULES)
    after = summary["after"].sel(match="lenient", k=chosen["lenient"])
    rows = dict(zip(RULES, coco_effects(summary), strict=True))
    splits = [float(after.sel(set="top", group=f"split {split}")) for split in summary["split"].values.tolist()]
    kept, sources = summary["reason"].values == "", summary["sources"].values
    return Findings(
        title="the order of naming gives IDs",
        headline=(
            f"The top {counted(chosen['lenient'], 'selection head')} put out their means from before the first thing "
            f"is named. The first thing is then named again in {share_of(lenient, 'after')} of pictures "
            f"({float(lenient['before']):.1%} without; {n_and_p(lenient)}); by the whole phrase in "
            f"{share_of(exact, 'after')} ({float(exact['before']):.1%} without; {n_and_p(exact)})."
        ),
        sentences=(
            *(
                f"{match} ({', '.join(filter(None, (RULES[match], rows[match].setting, choice_of(effect))))}): "
                f"{before_and_after(effect)}; {rows[match].controls_text}"
                for match, effect in reported.items()
            ),
            f"lenient, by split: {', '.join(f'{share:.1%}' for share in splits)}",
            f"{float(summary['stays'].sel(set='top', k=chosen['lenient'])):.1%} name the second thing all the same",
            *left_out(summary),
            f"{float(summary['listed'].values[kept].mean()):.1%} of second things are from the first prompt’s own list",
            *_annotated(summary),
            *tie_notes(summary["warning"], chosen.values()),
            *control_notes(summary["heads"], chosen.values()),
            *cut_notes(summary),
        ),
        columns=("match", "heads", "K", "pictures", *EFFECT_COLUMNS),
        rows=tuple(row for match, k in chosen.items() for row in _rows(summary, match, k)),
        method=(
            "The model continues a list (“… 1. a”) greedily. The first and the second named thing are read by the "
            "list’s numbers; a phrase is the words up to a comma, full stop, number or other mark, without its "
            "article. Where the list ends after one item, the second prompt (“… 1. a {first thing} 2. a”) gives the "
            "other. Pictures without two things are left out, and so are those whose two things have one head noun: "
            "the last word before the first “with”, “and”, “in”, “on”, “of”, “holding” and the like, plurals folded.",
            f"In each of {summary.sizes['split']} random splits the mean outputs of each head at the first prompt’s "
            f"last token ({sources.min()} to {sources.max()} sources) replace its outputs at the second prompt’s last "
            "token in the other half of the pictures. A hit names the first thing again: exact, the same phrase; "
            "lenient, the same head noun. Pictures “all”: each once, in the first split of which it is a target; "
            "“reporting”: the half of these that K was not selected on, which the headline reports. Before and after "
            f"are of the same pictures, decoded greedily with the same budget. {rule(summary)} {intervals(summary)}",
        ),
    )


def coco_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """The effect by both rules, on the reporting half."""
    chosen = {match: int(summary["chosen_k"].sel(match=match)) for match in RULES}
    return tuple(
        EffectRow.of_top(
            f"the first thing is named again ({RULES[match]})",
            f"K = {k}",
            summary.sel(match=match, group="reporting", k=k),
            alpha=float(summary.attrs["alpha"]),
        )
        for match, k in chosen.items()
    )
