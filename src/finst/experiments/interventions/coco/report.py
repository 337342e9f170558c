"""Figures and account of ``coco`` (Figs 44, 45)."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import shorten

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
    share_of,
    tie_warning,
)
from finst.report.curves import BLUE, GREEN, ORANGE, PURPLE, Pen
from finst.report.figures import FAINT, INK, STYLE, NamedFigure, canvas
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import level_of, probability

RULES = {"exact": "the whole phrase", "lenient": "the head noun"}

SECOND = "second slot"

BARS: Mapping[str, tuple[Pen, str]] = {
    "top": (ORANGE, "strongest heads"),
    SECOND: (BLUE, "the same, second slot’s means"),
    "random": (GREEN, KINDS["random"]),
    "layer-matched": (PURPLE, KINDS["layer-matched"]),
}
"""What is drawn side by side for every K."""

NAMED_IN_FULL = 5
"""Unreadable files that are named before the others are only counted."""


def coco_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims match, set, k, group, split, trial, shown."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return (bars(summary), strip(summary))


def bars(summary: xr.Dataset) -> NamedFigure:
    """Shares of repeats for every K, a panel a rule of matching."""
    figure = canvas(7.2, 3.0)
    panels = figure.subplots(1, len(RULES), sharey=True)
    splits = [name for name in summary["group"].values.tolist() if name.startswith("split")]
    for axes, (match, rule) in zip(panels, RULES.items(), strict=True):
        part = summary.sel(match=match)
        x, width = np.arange(part.sizes["k"]), 0.2
        for place, (name, (pen, label)) in enumerate(BARS.items()):
            draws = [name] if name in ("top", SECOND) else kind(part, name)["set"].values.tolist()
            at, of = x + width * (place - 1.5), part.sel(set=draws, group="all")
            axes.bar(at, of["after"].mean("set"), width * 0.9, color=pen.colour, alpha=0.75, label=label)
            axes.vlines(at, of["after_low"].min("set"), of["after_high"].max("set"), color=INK, lw=0.8)
            dots = part["after"].sel(set=draws, group=splits).stack(dot=("set", "group")).transpose("k", "dot").values
            axes.plot(at, dots, ls="", marker=".", ms=3, color=INK, zorder=3)
        before = part.sel(group="all", set="top").isel(k=0)
        axes.axhline(float(before["before"]), color=INK, lw=1, ls=":", label="without an edit")
        axes.axhspan(float(before["before_low"]), float(before["before_high"]), color=FAINT, alpha=0.25, lw=0)
        axes.set_xticks(x, [str(k) for k in part["k"].values.tolist()])
        axes.set(title=f"{match}: {rule}", xlabel="K", ylim=(0, 1.03))
    panels[0].set(ylabel="share that repeats the first thing")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return NamedFigure(
        name="coco",
        title="Naming the first thing again",
        caption=(
            "Share of pictures in which the thing that was named first is named again where the second one is due, by "
            "the number of heads whose outputs are replaced with their means at the first slot (blue: at the second "
            f"slot, which should change nothing). Bars: each picture once, {level_of(summary)} Wilson intervals "
            "(widest of the draws); dots: the single splits; dotted and grey: without an edit. Compare Fig 45."
        ),
        figure=figure,
        csv=tidy(summary, list(EFFECTS)),
    )


def strip(summary: xr.Dataset) -> NamedFigure:
    """Some pictures with what was said before and after."""
    shown = summary["shown"].values.tolist()
    k = int(summary["chosen_k"].sel(match="lenient"))
    columns = max(1, min(4, len(shown)))
    rows = -(-len(shown) // columns)
    figure = canvas(7.2, 2.3 * max(1, rows))
    grid = figure.subplots(max(1, rows), columns, squeeze=False)
    told = []
    for axes in grid.ravel():
        axes.set_axis_off()
    for axes, trial in zip(grid.ravel(), shown, strict=False):
        at = summary.sel(trial=trial)
        split = int(at["split"].values[at["target"].values.argmax()])
        words = {
            "first": str(at["first"].item()),
            "before": str(at["said_before"].item()),
            "after": str(at["said"].sel(split=split, set="top", k=k).item()),
        }
        _picture(axes, summary["thumbnail"].sel(shown=trial).values, words)
        told.append([str(at["picture"].item()), split, k, *words.values()])
    lines = [["picture", "split", "k", "first", "before", "after"], *told]
    return NamedFigure(
        name="coco-pictures",
        title="Some of the pictures",
        caption=(
            "The first targets, not chosen: what the model names first, and how it goes on where the second thing is "
            f"due, without an edit and with the outputs of the top {k} selection heads replaced."
        ),
        figure=figure,
        csv="".join(",".join(_cell(value) for value in line) + "\n" for line in lines),
    )


def _picture(axes: Axes, image: np.ndarray, words: Mapping[str, str]) -> None:
    axes.set_axis_on()
    axes.imshow(image)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=FAINT, lw=0.6)
    lines = [f"{name}: {shorten(words[name], 26, placeholder='…')}" for name in words]
    axes.text(0, -0.03, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=6.5, color=INK, parse_math=False)


def _cell(value: object) -> str:
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text


def left_out(summary: xr.Dataset) -> tuple[str, ...]:
    """How many pictures were not used and why; damaged files by name."""
    reasons = Counter(reason for reason in summary["reason"].values.tolist() if reason)
    total = summary.sizes["trial"]
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    lines = [f"{sum(reasons.values())} of {total} pictures are left out{': ' if told else ''}{told}"]
    damaged = summary["picture"].values[summary["reason"].values == "unreadable"].tolist()
    if damaged:
        more = f" and {len(damaged) - NAMED_IN_FULL} more" if len(damaged) > NAMED_IN_FULL else ""
        lines.append(f"files that cannot be read: {', '.join(damaged[:NAMED_IN_FULL])}{more}")
    return tuple(lines)


def _known(summary: xr.Dataset) -> tuple[str, ...]:
    """Whether what is named is there, where that is known."""
    kept = summary["annotated"].values[(summary["reason"].values == "") & (summary["annotated"].values >= 0)]
    if not len(kept):
        return ()
    return (f"the first thing is among what is known to be in the picture in {kept.mean():.1%} of {len(kept)}",)


def _rows(summary: xr.Dataset, chosen: Mapping[str, int]) -> Sequence[tuple[str, ...]]:
    """All K of both means; splits, the reporting half and controls at the chosen K."""
    rows = []
    for match, best in chosen.items():
        for name in summary["set"].values.tolist():
            for k in summary["k"].values.tolist() if name in ("top", SECOND) else [best]:
                for group in summary["group"].values.tolist() if name == "top" and k == best else ["all"]:
                    at = summary.sel(match=match, set=name, k=k, group=group)
                    rows.append((match, name, str(k), group, *effect_row(at)))
    return rows


def coco_findings(summary: xr.Dataset) -> Findings:
    """Of ``coco``."""
    chosen = {match: int(summary["chosen_k"].sel(match=match)) for match in RULES}
    at = {match: summary.sel(match=match, set="top", group="reporting", k=k) for match, k in chosen.items()}
    every = summary.sel(match="lenient", group="all", k=chosen["lenient"])
    others = {
        "the second slot’s means in the same heads": every["after"].sel(set=SECOND),
        "other heads": every["after"].sel(set=[name for name in summary["set"].values if name not in ("top", SECOND)]),
    }
    splits = summary.sel(match="lenient", set="top", k=chosen["lenient"])
    ranges = [float(splits["after"].sel(group=f"split {split}")) for split in summary["split"].values.tolist()]
    kept = summary["reason"].values == ""
    warned = tie_warning(summary["warning"], list(chosen.values()))
    sources = summary["sources"].values
    return Findings(
        title="the order of naming gives IDs",
        headline=(
            f"With the outputs that the top {chosen['lenient']} selection heads have before the first thing is named, "
            f"it is named again in {float(at['lenient']['after']):.1%} of pictures "
            f"({float(at['lenient']['before']):.1%} without); by the whole phrase in {float(at['exact']['after']):.1%} "
            f"({float(at['exact']['before']):.1%})."
        ),
        sentences=(
            *(
                f"{match} ({RULES[match]}, top {chosen[match]}): {share_of(one, 'before')} before, "
                f"{share_of(one, 'after')} after, {probability(float(one['p']))}; n = {int(one['n'])}"
                for match, one in at.items()
            ),
            *(f"lenient, with {name}: at most {float(share.max()):.1%}" for name, share in others.items()),
            f"lenient, by split: {', '.join(f'{share:.1%}' for share in ranges)}",
            f"{float(summary['stays'].sel(set='top', k=chosen['lenient'])):.1%} name the second thing all the same",
            *left_out(summary),
            f"{float(summary['listed'].values[kept].mean()):.1%} of second things are from the first prompt’s own list",
            *_known(summary),
            *([f"of the heads: {warned}"] if warned else []),
        ),
        columns=("match", "heads", "K", "pictures", *EFFECT_COLUMNS),
        rows=tuple(_rows(summary, chosen)),
        method=(
            "The model goes on with a list (“… 1. a”) greedily; what it names first and second is read off by the "
            "list’s numbers, a phrase being the words up to a comma, full stop, number or other mark, without its "
            "article. Where the list ends after one item, the second prompt (“… 1. a {first thing} 2. a”) asks for the "
            "other. Pictures without two things are left out, and so are those whose two things have one head noun: "
            "the last word before the first “with”, “and”, “in”, “on”, “of”, “holding” and the like, plurals folded.",
            f"In each of {summary.sizes['split']} random splits the mean outputs of each head at the first prompt’s "
            f"last token ({sources.min()} to {sources.max()} sources) replace its outputs at the second prompt’s last "
            "token in the other half of the pictures. A hit names the first thing again: exact, the same phrase; "
            "lenient, the same head noun. Pictures “all”: each once, in the first split of which it is a target; "
            "“reporting”: the half of these that K was not chosen on, which the headline is of. "
            "Before and after are of the same pictures, spoken greedily with the same budget. Intervals are Wilson’s "
            f"({level_of(summary)}), p is McNemar’s exact test.",
        ),
    )


def coco_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """By both rules."""
    rows = []
    for match, rule in RULES.items():
        k = int(summary["chosen_k"].sel(match=match))
        part = summary.sel(match=match, group="reporting", k=k)
        told = (part.sel(set="top"), part.sel(set=part["set"] != "top"))
        rows.append(EffectRow.of(f"the first thing is named again ({rule})", f"K = {k}", *told))
    return tuple(rows)
