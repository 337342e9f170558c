"""The figures of causal mediation: the combined map of Fig 1d, a panel a condition, layers, and single pairs."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from finst.experiments.cma.verdict import TopHead, top_heads
from finst.report.figures import FAINT, INK, STYLE, NamedFigure, canvas, ticks
from finst.report.tables import tidy
from finst.report.wording import NAMES, capital, level_of, number

COLOURS = {"id_retrieval": "#0072B2", "id_selection": "#D55E00", "feature_retrieval": "#009E73"}
"""Told apart in all common forms of colour blindness (Okabe and Ito)."""

MARKERS = {"id_retrieval": "o", "id_selection": "s", "feature_retrieval": "^"}
"""The stages once more, for readers in black and white."""

BLACK = "#000000"
"""Drawn on cells, whose colours are the same on a light and on a dark page."""

FRAME = "#e3e6ea"
"""Between cells."""

STATISTICS = ("mean", "standard_error", "ci_low", "ci_high", "t", "p", "p_fwer", "p_fdr", "above", "below")

DEPTH = ("centre_mean", "centre_low", "centre_high", "median_layer", "median_low", "median_high")

TOP = 3
"""Heads of each stage that are shown pair by pair."""


def mediation_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """All figures of a summary (dims pair, condition, layer, head), in the order of the report."""
    figures: tuple[Callable[[xr.Dataset], NamedFigure], ...] = (
        combined_map,
        condition_panels,
        layer_profile,
        pair_scores,
    )
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return tuple(figure(summary) for figure in figures)


def _stages(summary: xr.Dataset) -> list[str]:
    return [str(key) for key in summary["condition"].values]


def grid_axes(axes: Axes, summary: xr.Dataset, layer_ticks: int = 16) -> None:
    """Layers along x and heads along y, from the top."""
    axes.set(
        xlabel="layer",
        ylabel="head",
        xlim=(-0.5, summary.sizes["layer"] - 0.5),
        ylim=(summary.sizes["head"] - 0.5, -0.5),
    )
    axes.set_xticks(ticks(summary.sizes["layer"], layer_ticks))
    axes.set_yticks(ticks(summary.sizes["head"], 16))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def edges(size: int) -> Float[np.ndarray, "edge"]:
    """Of cells around 0, 1, ..., size - 1."""
    return np.arange(size + 1) - 0.5


def _means(summary: xr.Dataset, stage: str) -> Float[np.ndarray, "head layer"]:
    return summary["mean"].sel(condition=stage).transpose("head", "layer").values


def _above(summary: xr.Dataset, stage: str) -> Float[np.ndarray, "head layer"]:
    """The means of the heads above the noise, and zero elsewhere."""
    above = summary["above"].sel(condition=stage).transpose("head", "layer").values
    return np.where(above, _means(summary, stage), 0.0)


def _largest(means: Float[np.ndarray, "head"]) -> float:
    """Of the finite ones; 1 for an empty scale."""
    finite = means[np.isfinite(means)]
    return float(finite.max(initial=0.0)) or 1.0


def combined_map(summary: xr.Dataset) -> NamedFigure:
    """Fig 1d: layers along x, heads along y, the mean scores of the heads above the noise in a colour a stage.

    Heads in the noise stay white: on a scale of its own, a stage that is not there would look like one that is.
    """
    figure = canvas(7.2, 1.0 + min(4.4, 0.36 * summary.sizes["head"] + 0.5))
    axes, side = figure.subplots(1, 2, width_ratios=[1, 0.3])
    draw_stages(axes, summary)
    side.axis("off")
    for place, stage in enumerate(_stages(summary)):
        scale = side.inset_axes((0.02, 0.72 - 0.34 * place, 0.9, 0.07))
        one_sided_bar(figure, scale, [summary], stage)
    return NamedFigure(
        name="map",
        title="The three stages in one map",
        caption=(
            "Every attention head of the model. A colour and a mark say in which stage a head is above the noise; "
            "intensity is its mean score, from zero (white) to that stage’s largest, and below a "
            "colour bar stands the smallest. Where stages share a head their colours mix and the marks stand side by "
            "side. Unmarked heads are not above the noise and white, whatever their mean. Compare Fig 1d of the paper."
        ),
        figure=figure,
        csv=tidy(summary, ["mean", "p_fwer", "above"]),
    )


def draw_stages(axes: Axes, summary: xr.Dataset, mark: float = 1.0, tops: Mapping[str, float] | None = None) -> None:
    """The cells and marks (of relative size ``mark``) of the combined map, with their legend on top.

    ``tops`` are the mean scores of full colour, by stage; the largest of each where there is none.
    """
    stages = _stages(summary)
    ink = np.ones((summary.sizes["head"], summary.sizes["layer"], 3))
    for stage in stages:
        share = _above(summary, stage) / (tops[stage] if tops else largest_above([summary], stage))
        ink *= 1 - share[..., None] * (1 - np.array(to_rgb(COLOURS[stage])))
    axes.pcolormesh(edges(summary.sizes["layer"]), edges(summary.sizes["head"]), ink, edgecolors=FRAME, linewidth=0.5)
    grid_axes(axes, summary)
    _mark_stages(axes, summary, mark)
    axes.legend(
        handles=[
            Line2D([], [], ls="", marker=MARKERS[s], ms=5.5, mfc=COLOURS[s], mec=INK, mew=0.6, label=capital(NAMES[s]))
            for s in stages
        ],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        borderaxespad=0.2,
        handletextpad=0.2,
        columnspacing=1.4,
        borderpad=0.2,
    )


def _mark_stages(axes: Axes, summary: xr.Dataset, mark: float) -> None:
    """A mark for every stage in which a head is above the noise, side by side within its cell."""
    above = summary["above"].transpose("layer", "head", "condition").values
    stages = _stages(summary)
    size = mark * float(np.clip(120 / max(summary.sizes["layer"], 1.2 * summary.sizes["head"]), 2.0, 6.5))
    for layer, head in np.argwhere(above.any(axis=-1)):
        here = np.flatnonzero(above[layer, head])
        for place, index in enumerate(here):
            x = layer + 0.32 * (place - (len(here) - 1) / 2)
            style = {"marker": MARKERS[stages[index]], "mfc": COLOURS[stages[index]], "mec": "white", "mew": 0.7}
            axes.plot([x], [head], ls="", ms=size, **style)


def one_sided_bar(figure: Figure, axes: Axes, summaries: Sequence[xr.Dataset], stage: str) -> None:
    """The scale of a stage in the combined maps of one run or several."""
    top = largest_above(summaries, stage)
    weakest = min((least for s in summaries if (least := weakest_above(s, stage)) is not None), default=None)
    colours = LinearSegmentedColormap.from_list(stage, ["white", "white" if weakest is None else COLOURS[stage]])
    bar = figure.colorbar(ScalarMappable(Normalize(0, top), colours), cax=axes, orientation="horizontal")
    bar.outline.set_linewidth(0.5)  # pyright: ignore[reportCallIssue]
    bar.set_ticks([0] if weakest is None else [0, top], labels=["0"] if weakest is None else ["0", number(top, 2)])
    axes.set_title(f"{capital(NAMES[stage])} (logits)", fontsize=7, fontweight="normal", pad=3)
    noise = "none above the noise" if weakest is None else f"above the noise from {number(weakest)}"
    axes.set_xlabel(noise, fontsize=6.5, loc="left")


def largest_above(summaries: Sequence[xr.Dataset], stage: str) -> float:
    """The largest mean among the stage's heads above the noise in any run, in logits; 1 where there are none."""
    return _largest(np.concatenate([_above(summary, stage).ravel() for summary in summaries]))


def largest_score(summaries: Sequence[xr.Dataset], stage: str) -> float:
    """The largest absolute mean of a stage in any run, in logits."""
    return _largest(np.concatenate([abs(_means(summary, stage)).ravel() for summary in summaries]))


def weakest_above(summary: xr.Dataset, stage: str) -> float | None:
    """The smallest mean among a stage's heads above the noise, in logits."""
    part = summary.sel(condition=stage)
    means = part["mean"].values[part["above"].values]
    return float(means.min()) if means.size else None


def condition_panels(summary: xr.Dataset) -> NamedFigure:
    """One diverging map a condition (Figs 20-25), heads above the noise outlined."""
    stages = _stages(summary)
    figure = canvas(7.2, 1.25 + min(4.0, 0.2 * summary.sizes["head"] + 0.4))
    for place, (axes, stage) in enumerate(zip(figure.subplots(1, len(stages)), stages, strict=True)):
        _draw_condition(figure, axes, summary, stage)
        axes.set_ylabel("" if place else "head")
    return NamedFigure(
        name="panels",
        title="One map a condition",
        caption=(
            "Mean score of every head, red where patching moves the answer to the colour that the stage would lead "
            "to, on a scale that is symmetric about zero (palest). Solid outlines: above the noise (family-wise p "
            f"below {summary.attrs['alpha']}, positive, larger than the numerical noise). Dashed outlines: the same "
            "with a negative mean. Noise is judged head by head, from the spread over pairs: a small score that all "
            "pairs share may be above it, and a large one that they do not share may not. On the colour bars, the "
            "line at zero is as wide as the numerical noise, or as thin as a line can be."
        ),
        figure=figure,
        csv=tidy(summary, [*STATISTICS, "n"]),
    )


def _draw_condition(figure: Figure, axes: Axes, summary: xr.Dataset, stage: str) -> None:
    """The mean scores of one condition, with outlines, counts and a colour bar."""
    limit = largest_score([summary], stage)
    mesh = draw_scores(axes, summary, stage, limit)
    axes.set_title(capital(NAMES[stage]), pad=14)
    bar = figure.colorbar(mesh, ax=axes, orientation="horizontal", aspect=22, pad=0.04)
    score_bar(bar, limit, float(summary["noise_floor"]))


def draw_scores(axes: Axes, summary: xr.Dataset, stage: str, limit: float) -> QuadMesh:
    """The mean scores of one condition on a scale from -limit to limit, with outlines and counts."""
    means, part = _means(summary, stage), summary.sel(condition=stage)
    mesh = axes.pcolormesh(
        edges(summary.sizes["layer"]),
        edges(summary.sizes["head"]),
        np.ma.masked_invalid(means),
        cmap="RdBu_r",
        norm=Normalize(-limit, limit),
        edgecolors=FRAME,
        linewidth=min(0.4, 5 / summary.sizes["layer"]),
    )
    grid_axes(axes, summary, layer_ticks=10)
    _outline(axes, summary, stage)
    counts = f"{int(part['above'].sum())} above the noise, n = {int(part['n'])}"
    axes.text(0, 1.02, counts, transform=axes.transAxes, fontsize=7, color=INK)
    return mesh


def score_bar(bar: Colorbar, limit: float, floor: float) -> None:
    """The scale of mean scores, with the numerical noise (``floor``) as a line at zero."""
    bar.outline.set_linewidth(0.5)  # pyright: ignore[reportCallIssue]
    bar.set_ticks([-limit, 0, limit], labels=[number(-limit, 2), "0", number(limit, 2)])
    bar.set_label(f"mean score (logits)\nzero ± {number(floor)} numerical noise", fontsize=7)
    line = bar.ax.axhspan if bar.orientation == "vertical" else bar.ax.axvspan
    line(-floor, floor, color=BLACK, lw=0.9)


def overview(summary: xr.Dataset) -> NamedFigure:
    """The combined map and the panels side by side: one picture for a README or a slide."""
    stages = _stages(summary)
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        figure = canvas(9.6, 1.3 + min(4.0, 0.22 * summary.sizes["head"] + 0.4))
        combined, *panels = figure.subplots(1, 1 + len(stages), width_ratios=[1.6] + [1] * len(stages))
        draw_stages(combined, summary, mark=0.75)
        key = "intensity: mean score, from zero to the stage’s largest\nunmarked: not above the noise"
        place: dict[str, Any] = {"xycoords": "axes fraction", "xytext": (0, -42), "textcoords": "offset points"}
        combined.annotate(key, (0, 0), va="top", fontsize=7, in_layout=False, **place)
        for axes, stage in zip(panels, stages, strict=True):
            _draw_condition(figure, axes, summary, stage)
            axes.set_ylabel("")
    return NamedFigure(
        name="overview",
        title="The three stages in one map, and one map a condition",
        caption=(
            "Left: the heads above the noise; a colour and a mark a stage, intensity from zero (white) to the stage’s "
            "largest mean score. Right: the mean scores of all heads, those above the noise outlined."
        ),
        figure=figure,
        csv=tidy(summary, [*STATISTICS, "n"]),
    )


def _outline(axes: Axes, summary: xr.Dataset, stage: str) -> None:
    part = summary.sel(condition=stage)
    for kind, style in (("above", "-"), ("below", (0, (2, 1.2)))):
        for layer, head in np.argwhere(part[kind].transpose("layer", "head").values):
            axes.add_patch(
                Rectangle((layer - 0.5, head - 0.5), 1, 1, fill=False, ec=BLACK, lw=1.0, ls=style, clip_on=False)
            )


def layer_profile(summary: xr.Dataset) -> NamedFigure:
    """The stages by layer: mean over the heads of a layer, with its interval over pairs."""
    stages = _stages(summary)
    figure = canvas(7.2, 3.9)
    layers = summary["layer"].values
    panels = figure.subplots(len(stages), 1, sharex=True)
    for axes, stage in zip(panels, stages, strict=True):
        part = summary.sel(condition=stage)
        axes.axhline(0, color=FAINT, lw=0.8)
        colour = COLOURS[stage]
        axes.fill_between(layers, part["layer_ci_low"], part["layer_ci_high"], color=colour, alpha=0.28, lw=0)
        axes.plot(layers, part["layer_mean"], color=colour, marker=MARKERS[stage], ms=4, lw=1.4)
        axes.set_title(capital(NAMES[stage]), color=INK, pad=2)
        axes.margins(x=0.02)
        for name, dashes in (("centre_mean", (4, 2)), ("median_layer", (1, 1.5))):
            if part[name].notnull():
                axes.axvline(float(part[name]), color=colour, lw=1.2, ls=(0, dashes))
    figure.supylabel("score, mean over heads (logits)", fontsize=8)
    panels[-1].set_xlabel("layer")
    panels[-1].set_xticks(ticks(len(layers), 30))
    return NamedFigure(
        name="profile",
        title="The stages by layer",
        caption=(
            f"Mean score over all heads of a layer, with its {level_of(summary)} bootstrap interval over pairs "
            "(shaded). Of the heads above the noise alone: their centre of mass (dashed), the layer average weighted "
            "by positive scores, and their median layer (dotted), in which half of their summed mean scores is "
            "reached; a stage without such heads has neither. Scales differ."
        ),
        figure=figure,
        csv=tidy(summary, ["layer_mean", "layer_ci_low", "layer_ci_high", *DEPTH]),
    )


def pair_scores(summary: xr.Dataset) -> NamedFigure:
    """Every usable pair's score in the best heads of each stage, with mean and interval."""
    stages = _stages(summary)
    figure = canvas(7.2, 2.6)
    rng = np.random.default_rng(0)
    for axes, stage in zip(figure.subplots(1, len(stages)), stages, strict=True):
        heads = top_heads(summary, stage, TOP)
        for place, head in enumerate(heads):
            scores = _usable_scores(summary, stage, head)
            sideways = place + rng.uniform(-0.22, 0.22, scores.size)
            face = COLOURS[stage] if head.above else "none"
            dots: dict[str, Any] = {"fc": face, "ec": COLOURS[stage], "alpha": 0.7, "lw": 0 if head.above else 0.6}
            axes.scatter(sideways, scores, s=9, **dots)
            axes.plot([place - 0.32, place + 0.32], [head.mean] * 2, color=INK, lw=1.6)
            axes.plot([place] * 2, [head.ci_low, head.ci_high], color=INK, lw=1.6)
        axes.axhline(0, color=FAINT, lw=0.8)
        axes.set_title(capital(NAMES[stage]))
        axes.set_xticks(range(len(heads)), [head.name if head.above else f"({head.name})" for head in heads])
        axes.set_xlim(-0.6, TOP - 0.4)
        axes.tick_params(axis="x", length=0)
    figure.axes[0].set_ylabel("score (logits)")
    return NamedFigure(
        name="pairs",
        title="Every pair in the best heads",
        caption=(
            f"The {TOP} heads with the largest mean score of each stage. A dot is a pair; the cross is the mean with "
            f"its {level_of(summary)} bootstrap interval. Hollow dots and a name in brackets: not above the noise. "
            "Scales differ."
        ),
        figure=figure,
        csv=_pair_table(summary),
    )


def _usable_scores(summary: xr.Dataset, stage: str, head: TopHead) -> xr.DataArray:
    part = summary.sel(condition=stage)
    return part["score"].sel(layer=head.layer, head=head.head)[part["usable"].values]


def _pair_table(summary: xr.Dataset) -> str:
    rows = ["condition,rank,layer,head,pair,score"]
    for stage in _stages(summary):
        for rank, head in enumerate(top_heads(summary, stage, TOP), 1):
            scores = _usable_scores(summary, stage, head)
            rows += [
                f"{stage},{rank},{head.layer},{head.head},{pair},{float(score)!r}"
                for pair, score in zip(scores["pair"].values, scores.values, strict=True)
            ]
    return "\n".join(rows) + "\n"
