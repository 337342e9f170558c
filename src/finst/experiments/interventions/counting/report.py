"""Figure and account of ``counting`` (Fig 46)."""

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
)
from finst.report.curves import BLUE, GREEN, ORANGE
from finst.report.figures import STYLE, NamedFigure, canvas
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import level_of, probability

SCORES = {
    "count": "right number",
    "list": "right list",
    "silent": "no “Answer:”",
    "cut": "cut by the budget",
}

SETS = {"top": (KINDS["top"], ORANGE), "bottom": ("weakest heads", BLUE)}

RIVALS = {"bottom": "the weakest heads", "random": "random heads"}

STEPS = {
    "every": "in every forward pass: at {positions} of the prompt and at every token that is spoken",
    "prompt": "in the first forward pass alone, at {positions} of the prompt, and intact heads speak",
}

POSITIONS = {"all": "all tokens", "text": "all tokens but the picture’s", "last": "the last token"}


def counting_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims set, k, score, group."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return (curves(summary),)


def curves(summary: xr.Dataset) -> NamedFigure:
    """What texts are like over K, a panel a score; K = 0 is unedited."""
    figure = canvas(7.2, 2.8)
    panels = figure.subplots(1, len(SCORES), sharey=True)
    part = summary.sel(group="all")
    for axes, (score, title) in zip(panels, SCORES.items(), strict=True):
        _panel(axes, part.sel(score=score))
        axes.set(title=title, xlabel="K", ylim=(-0.03, 1.03))
    panels[0].set(ylabel="share of texts")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return NamedFigure(
        name="counting",
        title="Counting with heads set to 0",
        caption=(
            "Share of texts that give the right number of objects, that name each object once and nothing else, that "
            "never say “Answer:”, and that their budget of tokens cut, by the number K of heads whose outputs are 0. "
            f"K = 0: unedited. {level_of(summary)} Wilson intervals; band and green line: range and mean of "
            f"{kind(part, 'random').sizes['set']} random sets. Compare the left panel with Fig 46."
        ),
        figure=figure,
        csv=tidy(summary, [*EFFECTS]),
    )


def _panel(axes: Axes, part: xr.Dataset) -> None:
    x = np.arange(part.sizes["k"] + 1)
    start = float(part["before"].isel(set=0, k=0))
    drawn = kind(part, "random")["after"].transpose("set", "k").values
    drawn = np.concatenate([np.full((len(drawn), 1), start), drawn], axis=1)
    axes.fill_between(x, drawn.min(0), drawn.max(0), color=GREEN.colour, alpha=0.2, lw=0)
    axes.plot(x, drawn.mean(0), color=GREEN.colour, ls=GREEN.line, lw=1, label=KINDS["random"])
    for place, (name, (label, pen)) in enumerate(SETS.items()):
        values, shift = part.sel(set=name), 0.16 * (place - 0.5)
        points(axes, x[:1] + shift, values.isel(k=[0]), "before", pen, "_", filled=False)
        points(axes, x[1:] + shift, values, "after", pen, label)
        axes.plot(x + shift, [start, *values["after"].values], color=pen.colour, ls=pen.line, lw=1)
    axes.set_xticks(x, ["0", *(str(k) for k in part["k"].values.tolist())], rotation=90 if len(x) > 8 else 0)


def counting_findings(summary: xr.Dataset) -> Findings:
    """Of ``counting``."""
    part = summary.sel(group="all")
    count = part.sel(score="count")
    start, ks = count.isel(set=0, k=0), part["k"].values.tolist()
    top, bottom = (shares_of(count["after"].sel(set=name)) for name in SETS)
    rows = [
        (SCORES[str(score)], str(name), str(k), *effect_row(part.sel(score=score, set=name, k=k)))
        for score in ("count", "list")
        for name in part["set"].values.tolist()
        for k in ks
    ]
    rates = {score: part.sel(score=score, set="top") for score in ("list", "silent", "cut")}
    drawn = kind(count, "random")["after"]
    told = [
        f"{end} {k}: {text}"
        for end in summary["end"].values.tolist()
        for k in ks
        if (text := str(summary["warning"].sel(end=end, k=k).item()))
    ]
    positions = POSITIONS[summary.attrs["positions"]]
    return Findings(
        title="counting with heads set to 0",
        headline=(
            f"Unedited, {float(start['before']):.1%} of pictures are counted rightly; with the strongest K heads at 0 "
            f"{top}, with the weakest {bottom}, with random ones "
            f"{shares_of(drawn.mean('set'))} (K = {', '.join(map(str, ks))})."
        ),
        sentences=(
            f"unedited: {share_of(start, 'before')} right numbers, {share_of(rates['list'].isel(k=0), 'before')} right "
            f"lists, n = {int(start['n'])}",
            *(_held(summary, rival) for rival in summary["rival"].values.tolist()),
            *(
                f"strongest heads, {SCORES[score]}: {float(found.isel(k=0)['before']):.1%} unedited, "
                f"{shares_of(found['after'])} over K"
                for score, found in rates.items()
            ),
            *([f"of the heads: {'; '.join(told)}"] if told else []),
        ),
        columns=("score", "heads", "K", *EFFECT_COLUMNS),
        rows=tuple(rows),
        method=(
            "Pictures of 3 to 8 different objects (four colours, four shapes) in random cells of a 3x3 grid, each "
            "number equally often. The model is asked for a numbered list and then for the total, and speaks greedily, "
            f"{int(summary.attrs['new_tokens'])} tokens at most, with and without an edit. A number is right if the "
            "first one after the last “Answer:” is that of the objects; a list is right if what is named before it "
            "(a colour word and the next word) is each object once and nothing else, in any order.",
            "Heads are ranked by the largest of their three scores of causal mediation, as in the paper; ties within "
            "the noise are broken by seed. Outputs are set to 0 "
            f"{STEPS[summary.attrs['steps']].format(positions=positions)}. No setting was chosen by its result, so all "
            "trials are reported. Before and after are of the same trials; intervals are Wilson’s "
            f"({level_of(summary)}), p is McNemar’s exact test. Against random heads it is the largest p "
            "over all random sets (so the strongest must differ from each of them, in one direction); q adjusts it "
            "over K (Benjamini and Hochberg).",
        ),
    )


def _held(summary: xr.Dataset, rival: str) -> str:
    """The strongest heads against others in right numbers, at every K."""
    at = summary[["rival_p", "rival_q"]].sel(rival=rival, score="count")
    texts = [
        f"K {k}: {probability(float(at['rival_p'].sel(k=k)))}, {probability(float(at['rival_q'].sel(k=k)), 'q')}"
        for k in summary["k"].values.tolist()
    ]
    return f"right numbers with the strongest heads at 0 against {RIVALS[rival]}: {'; '.join(texts)}"


def counting_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Right numbers with every K: none was chosen."""
    part = summary.sel(group="all", score="count")
    others = part.sel(set=part["set"] != "top")
    return tuple(
        EffectRow.of(
            "the right number, strongest heads at 0", f"K = {k}", part.sel(set="top", k=k), others.sel(k=k), harms=True
        )
        for k in part["k"].values.tolist()
    )
