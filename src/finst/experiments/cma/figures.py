"""The figures of causal mediation: combined map (Fig 1d), one map per condition, profile over layers, single pairs."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from finst.experiments.cma.head_maps import above_map, mean_map, stages_of
from finst.experiments.cma.top_heads import TopHead, top_heads
from finst.report.colours import mixed
from finst.report.figures import FAINT, INK, NamedFigure, canvas, styled, ticks
from finst.report.tables import tidy
from finst.report.wording import NAMES, capital, level_of, number

STAGE_COLOURS = {"id_retrieval": "#0072B2", "id_selection": "#D55E00", "feature_retrieval": "#009E73"}
"""Distinct in all common forms of colour blindness (Okabe and Ito)."""

STAGE_MARKERS = {"id_retrieval": "o", "id_selection": "s", "feature_retrieval": "^"}
"""The markers of the stages, for black and white."""

BLACK = "#000000"
"""The colour of lines on cells, which have the same colours on a light and on a dark page."""

FRAME = "#e3e6ea"
"""The colour between cells."""

STATISTICS = ("mean", "standard_error", "ci_low", "ci_high", "t", "p", "p_fwer", "p_fdr", "above", "below")

DEPTH = ("centre_mean", "centre_low", "centre_high", "median_layer", "median_low", "median_high")

TOP = 3
"""Number of heads of each stage that are shown pair by pair."""


@styled
def mediation_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """All figures of a summary (dims pair, condition, layer, head), in the order of the report."""
    return combined_map(summary), condition_panels(summary), layer_profile(summary), pair_scores(summary)


def grid_axes(axes: Axes, summary: xr.Dataset, layer_ticks: int = 16) -> None:
    """Labels axes with layers along x and heads along y, from the top."""
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
    """The edges of cells around 0, 1, ..., size - 1."""
    return np.arange(size + 1) - 0.5


def _above_means(summary: xr.Dataset, stage: str) -> Float[np.ndarray, "layer head"]:
    """The means of the heads above the noise, and zero elsewhere."""
    return np.where(above_map(summary, stage), mean_map(summary, stage), 0.0)


def _largest(means: Float[np.ndarray, "head"]) -> float:
    """The largest finite mean; 1 where there is none above zero, for an empty scale."""
    finite = means[np.isfinite(means)]
    return float(finite.max(initial=0.0)) or 1.0


def combined_map(summary: xr.Dataset) -> NamedFigure:
    """Fig 1d: layers along x, heads along y, the mean scores of the heads above the noise in one colour per stage.

    Heads not above the noise stay white: otherwise the scale of an absent stage would make it look present.
    """
    figure = canvas(7.2, 1.0 + min(4.4, 0.36 * summary.sizes["head"] + 0.5))
    axes, side = figure.subplots(1, 2, width_ratios=[1, 0.3])
    draw_stages(axes, summary)
    side.axis("off")
    for place, stage in enumerate(stages_of(summary)):
        scale = side.inset_axes((0.02, 0.72 - 0.34 * place, 0.9, 0.07))
        one_sided_bar(figure, scale, [summary], stage)
    return NamedFigure(
        name="map",
        title="The three stages in one map",
        caption=(
            "Every attention head of the model. Colour and marker show in which stage a head is above the noise. "
            "Intensity is its mean score, from zero (white) to the stage’s largest; the smallest is written below the "
            "colour bar. Where stages share a head, their colours mix as light does and their markers stand side by "
            "side. Heads that are not above the noise are white and unmarked, whatever their mean, also where it is "
            "the largest. Compare Fig 1d of the paper."
        ),
        figure=figure,
        csv=tidy(summary, ["mean", "p_fwer", "above"]),
    )


def draw_stages(axes: Axes, summary: xr.Dataset, mark: float = 1.0, tops: Mapping[str, float] | None = None) -> None:
    """Draws the cells and markers (of relative size ``mark``) of the combined map, with the legend on top.

    ``tops`` are the mean scores (logits) of full colour by stage; the largest of each stage if None.
    """
    stages = stages_of(summary)
    full = {stage: tops[stage] if tops else largest_above([summary], stage) for stage in stages}
    shares = np.stack([_above_means(summary, stage).T / full[stage] for stage in stages], axis=-1)
    ink = mixed(shares, tuple(STAGE_COLOURS[stage] for stage in stages))
    axes.pcolormesh(edges(summary.sizes["layer"]), edges(summary.sizes["head"]), ink, edgecolors=FRAME, linewidth=0.5)
    grid_axes(axes, summary)
    _mark_stages(axes, summary, mark)
    axes.legend(
        handles=[
            Line2D([], [], ls="", ms=5.5, mec=INK, mew=0.6, label=capital(NAMES[stage]), **_marker(stage))
            for stage in stages
        ],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        borderaxespad=0.2,
        handletextpad=0.2,
        columnspacing=1.4,
        borderpad=0.2,
    )


def _marker(stage: str) -> dict[str, Any]:
    return {"marker": STAGE_MARKERS[stage], "mfc": STAGE_COLOURS[stage]}


def _mark_stages(axes: Axes, summary: xr.Dataset, mark: float) -> None:
    """Draws a marker for every stage in which a head is above the noise, side by side within its cell."""
    above = summary["above"].transpose("layer", "head", "condition").values
    stages = stages_of(summary)
    size = mark * float(np.clip(120 / max(summary.sizes["layer"], 1.2 * summary.sizes["head"]), 2.0, 6.5))
    for layer, head in np.argwhere(above.any(axis=-1)):
        here = np.flatnonzero(above[layer, head])
        for place, index in enumerate(here):
            x = layer + 0.32 * (place - (len(here) - 1) / 2)
            axes.plot([x], [head], ls="", ms=size, mec="white", mew=0.7, **_marker(stages[index]))


def one_sided_bar(figure: Figure, axes: Axes, summaries: Sequence[xr.Dataset], stage: str) -> None:
    """Draws the scale of a stage in the combined maps of one or more runs."""
    top = largest_above(summaries, stage)
    weakest = min((least for s in summaries if (least := weakest_above(s, stage)) is not None), default=None)
    colours = LinearSegmentedColormap.from_list(stage, ["white", "white" if weakest is None else STAGE_COLOURS[stage]])
    bar = figure.colorbar(ScalarMappable(Normalize(0, top), colours), cax=axes, orientation="horizontal")
    bar.outline.set_linewidth(0.5)  # pyright: ignore[reportCallIssue]
    bar.set_ticks([0] if weakest is None else [0, top], labels=["0"] if weakest is None else ["0", number(top, 2)])
    axes.set_title(f"{capital(NAMES[stage])} (logits)", fontsize=7, fontweight="normal", pad=3)
    noise = "none above the noise" if weakest is None else f"above the noise from {number(weakest)}"
    axes.set_xlabel(noise, fontsize=6.5, loc="left")


def largest_above(summaries: Sequence[xr.Dataset], stage: str) -> float:
    """The largest mean (logits) among the stage's heads above the noise in any run; 1 where there are none."""
    return _largest(np.concatenate([_above_means(summary, stage).ravel() for summary in summaries]))


def largest_score(summaries: Sequence[xr.Dataset], stage: str) -> float:
    """The largest absolute mean (logits) of a stage in any run."""
    return _largest(np.concatenate([abs(mean_map(summary, stage)).ravel() for summary in summaries]))


def weakest_above(summary: xr.Dataset, stage: str) -> float | None:
    """The smallest mean (logits) among a stage's heads above the noise; None where there are none."""
    means = mean_map(summary, stage)[above_map(summary, stage)]
    return float(means.min()) if means.size else None


def condition_panels(summary: xr.Dataset) -> NamedFigure:
    """One diverging map per condition (Figs 20-25), with heads above the noise outlined."""
    stages = stages_of(summary)
    figure = canvas(7.2, 1.25 + min(4.0, 0.2 * summary.sizes["head"] + 0.4))
    for place, (axes, stage) in enumerate(zip(figure.subplots(1, len(stages)), stages, strict=True)):
        _draw_condition(figure, axes, summary, stage)
        axes.set_ylabel("" if place else "head")
    return NamedFigure(
        name="panels",
        title="One map per condition",
        caption=(
            "Mean score of every head, red where patching moves the answer to the colour that the stage predicts, "
            "on a scale that is symmetric about zero (palest). Solid outlines: above the noise (family-wise p against "
            f"sign flips below {summary.attrs['alpha']}, positive, larger than the numerical noise). Dashed outlines: "
            "the same with a negative mean. The test of each head depends on the spread over pairs: a small score "
            "that all pairs share can be above the noise, and a large one that they do not share can be below. The "
            "line at zero on each colour bar is as wide as the numerical noise, with a minimum width."
        ),
        figure=figure,
        csv=tidy(summary, [*STATISTICS, "n"]),
    )


def _draw_condition(figure: Figure, axes: Axes, summary: xr.Dataset, stage: str) -> None:
    """Draws the mean scores of one condition, with outlines, counts and a colour bar."""
    limit = largest_score([summary], stage)
    mesh = draw_scores(axes, summary, stage, limit)
    axes.set_title(capital(NAMES[stage]), pad=14)
    bar = figure.colorbar(mesh, ax=axes, orientation="horizontal", aspect=22, pad=0.04)
    score_bar(bar, limit, float(summary["noise_floor"]))


def draw_scores(axes: Axes, summary: xr.Dataset, stage: str, limit: float) -> QuadMesh:
    """Draws the mean scores of one condition on a scale from -limit to limit (logits), with outlines and counts."""
    part = summary.sel(condition=stage)
    mesh = axes.pcolormesh(
        edges(summary.sizes["layer"]),
        edges(summary.sizes["head"]),
        np.ma.masked_invalid(mean_map(summary, stage).T),
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
    """Labels the colour bar of mean scores, with the numerical noise (``floor``, logits) as a line at zero."""
    bar.outline.set_linewidth(0.5)  # pyright: ignore[reportCallIssue]
    bar.set_ticks([-limit, 0, limit], labels=[number(-limit, 2), "0", number(limit, 2)])
    bar.set_label(f"mean score (logits)\nzero ± {number(floor)} numerical noise", fontsize=7)
    line = bar.ax.axhspan if bar.orientation == "vertical" else bar.ax.axvspan
    line(-floor, floor, color=BLACK, lw=0.9)


@styled
def overview(summary: xr.Dataset) -> NamedFigure:
    """The combined map and the panels side by side, as one picture for a README or a slide."""
    stages = stages_of(summary)
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
        title="The three stages in one map, and one map per condition",
        caption=(
            "Left: the heads above the noise; one colour and marker per stage, intensity from zero (white) to the "
            "stage’s largest mean score. Right: the mean scores of all heads, with those above the noise outlined."
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
    """The stages by layer: mean over the heads of each layer, with its interval over pairs."""
    stages = stages_of(summary)
    figure = canvas(7.2, 3.9)
    layers = summary["layer"].values
    panels = figure.subplots(len(stages), 1, sharex=True)
    for axes, stage in zip(panels, stages, strict=True):
        part = summary.sel(condition=stage)
        axes.axhline(0, color=FAINT, lw=0.8)
        colour = STAGE_COLOURS[stage]
        axes.fill_between(layers, part["layer_ci_low"], part["layer_ci_high"], color=colour, alpha=0.28, lw=0)
        axes.plot(layers, part["layer_mean"], color=colour, marker=STAGE_MARKERS[stage], ms=4, lw=1.4)
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
            "(shaded). Two lines summarise the heads above the noise: their centre of mass (dashed), which is their "
            "mean layer weighted by positive scores, and their median layer (dotted), at which half of their summed "
            "mean scores is reached. A stage without such heads has neither line. Scales differ."
        ),
        figure=figure,
        csv=tidy(summary, ["layer_mean", "layer_ci_low", "layer_ci_high", *DEPTH]),
    )


def pair_scores(summary: xr.Dataset) -> NamedFigure:
    """The score of every usable pair in the best heads of each stage, with mean and interval."""
    stages = stages_of(summary)
    figure = canvas(7.2, 2.6)
    rng = np.random.default_rng(0)
    for axes, stage in zip(figure.subplots(1, len(stages)), stages, strict=True):
        heads = top_heads(summary, stage, TOP)
        for place, head in enumerate(heads):
            scores = _usable_scores(summary, stage, head)
            sideways = place + rng.uniform(-0.22, 0.22, scores.size)
            face = STAGE_COLOURS[stage] if head.above else "none"
            dots: dict[str, Any] = {
                "fc": face,
                "ec": STAGE_COLOURS[stage],
                "alpha": 0.7,
                "lw": 0 if head.above else 0.6,
            }
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
            f"The {TOP} heads with the largest mean score of each stage. Each dot is a pair; the cross is the mean "
            f"with its {level_of(summary)} bootstrap interval. Hollow dots and a name in brackets: not above the "
            "noise. Scales differ."
        ),
        figure=figure,
        csv=_pair_table(summary),
    )


def _usable_scores(summary: xr.Dataset, stage: str, head: TopHead) -> xr.DataArray:
    part = summary.sel(condition=stage)
    return part["score"].sel(layer=head.layer, head=head.head)[part["usable"].values]


def _pair_table(summary: xr.Dataset) -> str:
    rows = ["condition,rank,layer,head,pair,score"]
    for stage in stages_of(summary):
        for rank, head in enumerate(top_heads(summary, stage, TOP), 1):
            scores = _usable_scores(summary, stage, head)
            rows += [
                f"{stage},{rank},{head.layer},{head.head},{pair},{float(score)!r}"
                for pair, score in zip(scores["pair"].values, scores.values, strict=True)
            ]
    return "\n".join(rows) + "\n"
