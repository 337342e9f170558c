"""Figure and findings of ``counting`` (Fig 46)."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from finst.experiments.interventions.effect_rows import EFFECTS, EffectRow
from finst.experiments.interventions.figures import KINDS, SHARES, draws_of, points
from finst.experiments.interventions.sentences import (
    EFFECT_COLUMNS,
    effect_row,
    intervals,
    ranking_notes,
    share_of,
    shares_of,
)
from finst.report.curves import BLUE, GREEN, ORANGE
from finst.report.figures import NamedFigure, canvas, styled
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import level_of, probability, sampled

SCORES = {
    "count": "right number",
    "list": "right list",
    "silent": "no “Answer:”",
    "cut": "cut by the budget",
}
"""What is scored of a text: whether the first number after the last ``Answer:`` is that of the objects; whether each
object and nothing else is named before it, once; whether it has no ``Answer:``; whether its budget cut it short."""

SETS = {"top": (KINDS["top"], ORANGE), "bottom": ("weakest heads", BLUE)}

RIVALS = {"bottom": "the weakest heads", "random": "random heads"}
"""The sets that the strongest heads are compared with."""

STEPS = {
    "every": "in every forward pass: at {positions} of the prompt and at every generated token",
    "prompt": "in the first forward pass alone, at {positions} of the prompt; decoding continues with intact heads",
}

POSITIONS = {"all": "all tokens", "text": "all tokens but the picture’s", "last": "the last token"}


@styled
def counting_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figure of a summary with dims set, k, score, group."""
    return (curves(summary),)


def curves(summary: xr.Dataset) -> NamedFigure:
    """Shares of texts over K, a panel a score; K = 0 is unedited."""
    figure = canvas(7.2, 2.8)
    panels = figure.subplots(1, len(SCORES), sharey=True)
    part = summary.sel(group="all")
    for axes, (score, title) in zip(panels, SCORES.items(), strict=True):
        _panel(axes, part.sel(score=score))
        axes.set(title=title, xlabel="K", ylim=SHARES)
    panels[0].set(ylabel="share of texts")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return NamedFigure(
        name="counting",
        title="Counting with heads set to 0",
        caption=(
            "Share of texts that give the right number of objects; that name each object once and nothing else; that "
            "do not contain “Answer:”; and that were cut by their budget of tokens, by the number K of heads whose "
            f"outputs are 0. K = 0: unedited. Bars: {level_of(summary)} Wilson intervals; band and green line: range "
            f"and mean of {len(draws_of(part, 'random'))} random sets. Compare the left panel with Fig 46."
        ),
        figure=figure,
        csv=tidy(summary, EFFECTS),
    )


def _panel(axes: Axes, part: xr.Dataset) -> None:
    x = np.arange(part.sizes["k"] + 1)
    start = float(part["before"].isel(set=0, k=0))
    drawn = part["after"].sel(set=draws_of(part, "random")).transpose("set", "k").values
    drawn = np.concatenate([np.full((len(drawn), 1), start), drawn], axis=1)
    axes.fill_between(x, drawn.min(0), drawn.max(0), color=GREEN.colour, alpha=0.2, lw=0)
    axes.plot(x, drawn.mean(0), color=GREEN.colour, ls=GREEN.line, lw=1, label=KINDS["random"])
    for place, (name, (label, pen)) in enumerate(SETS.items()):
        effects, shift = part.sel(set=name), 0.16 * (place - 0.5)
        points(axes, x[:1] + shift, effects.isel(k=[0]), "before", pen, "_", filled=False)
        points(axes, x[1:] + shift, effects, "after", pen, label)
        axes.plot(x + shift, [start, *effects["after"].values], color=pen.colour, ls=pen.line, lw=1)
    axes.set_xticks(x, ["0", *(str(k) for k in part["k"].values.tolist())], rotation=90 if len(x) > 8 else 0)


def counting_findings(summary: xr.Dataset) -> Findings:
    """The results in words and in a table."""
    part = summary.sel(group="all")
    count, ks = part.sel(score="count"), part["k"].values.tolist()
    start = count.isel(set=0, k=0)
    strongest = ", ".join(share_of(count.sel(set="top", k=k), "after") for k in ks)
    bottom = shares_of(count["after"].sel(set="bottom"))
    random = shares_of(count["after"].sel(set=draws_of(count, "random")).mean("set"))
    rates = {score: part.sel(score=score, set="top") for score in ("list", "silent", "cut")}
    rows = [
        (SCORES[score], name, str(k), *effect_row(part.sel(score=score, set=name, k=k)))
        for score in ("count", "list")
        for name in part["set"].values.tolist()
        for k in ks
    ]
    warnings, ends = summary["warning"], summary["end"].values.tolist()
    positions = POSITIONS[summary.attrs["positions"]]
    return Findings(
        title="counting with heads set to 0",
        headline=(
            f"Unedited, {share_of(start, 'before')} of pictures are counted correctly "
            f"({sampled(int(start['n']), 'trial')}). With K heads set to 0 the shares are, for "
            f"K = {', '.join(map(str, ks))}: strongest heads {strongest}; weakest heads {bottom}; "
            f"random heads {random}."
        ),
        sentences=(
            f"unedited: {share_of(start, 'before')} right numbers, {share_of(rates['list'].isel(k=0), 'before')} right "
            f"lists, n = {int(start['n'])}",
            *(_compared(summary, rival) for rival in summary["rival"].values.tolist()),
            *(
                f"strongest heads, {SCORES[score]}: {float(effects.isel(k=0)['before']):.1%} unedited, "
                f"{shares_of(effects['after'])} over K"
                for score, effects in rates.items()
            ),
            *ranking_notes({f"{end} {k}": str(warnings.sel(end=end, k=k).item()) for end in ends for k in ks}),
        ),
        columns=("score", "heads", "K", *EFFECT_COLUMNS),
        rows=tuple(rows),
        method=(
            "Pictures show 3 to 8 different objects (four colours, four shapes) in random cells of a 3x3 grid, each "
            "number equally often. The model is prompted for a numbered list and then for the total. It decodes "
            f"greedily, {int(summary.attrs['new_tokens'])} tokens at most, with and without an edit. A number is right "
            "if the first one after the last “Answer:” is that of the objects. A list is right if the names before it "
            "(a colour word and the next word) are each object once and nothing else, in any order.",
            "Heads are ranked by the largest of their three scores of causal mediation, as in the paper; ties within "
            "the noise are broken by seed. Outputs are set to 0 "
            f"{STEPS[summary.attrs['steps']].format(positions=positions)}. No setting was selected by its result, so "
            f"all trials are reported. Before and after are of the same trials. {intervals(summary)} The comparison "
            "with random heads takes the largest p over all random sets, so the strongest must differ from each of "
            "them, in one direction; q adjusts it over K (Benjamini and Hochberg).",
        ),
    )


def _compared(summary: xr.Dataset, rival: str) -> str:
    """The strongest heads compared with others in right numbers, at every K."""
    at = summary[["rival_p", "rival_q"]].sel(rival=rival, score="count")
    texts = [
        f"K {k}: {probability(float(at['rival_p'].sel(k=k)), RIVALS[rival])}, "
        f"{probability(float(at['rival_q'].sel(k=k)), RIVALS[rival], 'q')}"
        for k in summary["k"].values.tolist()
    ]
    return f"right numbers with the strongest heads at 0: {'; '.join(texts)}"


def counting_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Right numbers with every K: none was selected."""
    part = summary.sel(group="all", score="count")
    return tuple(
        EffectRow.of_top(
            "the right number, strongest heads at 0",
            f"K = {k}",
            part.sel(k=k),
            alpha=float(summary.attrs["alpha"]),
            harms=True,
            without_own="none chosen",
        )
        for k in part["k"].values.tolist()
    )
