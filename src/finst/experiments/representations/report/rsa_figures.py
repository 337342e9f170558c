"""The figures of RSA: stages (Figs 1c, 14-19), frames of reference (Figs 2, 26-28), entropy (Figs 6, 7, 30-36)."""

# ruff: noqa: RUF001  (typeset text: dashes and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from finst.experiments.representations.roles import COMMAS, LAST
from finst.report.curves import BLUE, GREEN, ORANGE, PURPLE, Pen, above, curve, over_layers
from finst.report.figures import FAINT, INK, NamedFigure, canvas, styled, ticks
from finst.report.tables import tidy
from finst.report.wording import level_of

STATISTICS = ["r", "p", "p_fwer", "ci_low", "ci_high", "spearman"]
CEILINGS = ["ceiling_low", "ceiling_high"]
"""Variables of a summary, as the figures' tables have them."""

ENTROPY: Mapping[str, Pen] = {"low": ORANGE, "high": BLUE}
"""The conditions of ``rsa-entropy``, in their colours."""


@styled
def stage_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figures of a summary with dims role, layer, comparison (Figs 1c and 14-19)."""
    return stages_by_layer(summary), single_tokens(summary), partial_correlations(summary)


@styled
def frame_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figure of a summary with dims role (the last token alone), layer, comparison (Figs 2 and 26-28)."""
    return (frames_by_layer(summary),)


@styled
def entropy_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figures of a summary with dims condition, role, layer, comparison (Figs 6, 7 and 30-36)."""
    return entropy_by_layer(summary), entropy_averages(summary)


def single_commas(summary: xr.Dataset) -> xr.Dataset:
    """The roles that are single commas."""
    return summary.isel(role=~np.isin(summary["role"].values, [LAST, COMMAS]))


def last_token(summary: xr.Dataset) -> xr.Dataset:
    """The role of the last token; no dim role."""
    return summary.sel(role=LAST)


def _marks_text(summary: xr.Dataset) -> str:
    alpha = summary.attrs["alpha"]
    return (
        f"Filled marks: family-wise p against shuffled labels below {alpha} over layers (largest r). Hollow marks: not."
    )


def _curve(axes: Axes, summary: xr.Dataset, role: str, comparison: str, pen: Pen, label: str) -> None:
    """r of one role and comparison with its interval; marks are filled where it is significant."""
    part = summary.sel(role=role, comparison=comparison)
    significant = part["p_fwer"] < summary.attrs["alpha"]
    curve(axes, part["r"], pen, label, low=part["ci_low"], high=part["ci_high"], solid=significant)


def _at_last(axes: Axes, summary: xr.Dataset, comparison: str, pen: Pen, label: str) -> None:
    _curve(axes, summary, LAST, comparison, pen, label)


def _at_commas(axes: Axes, summary: xr.Dataset, comparison: str, pen: Pen, label: str) -> None:
    """The mean over commas, and every comma as a thin line."""
    part = single_commas(summary).sel(comparison=comparison)
    for role in part["role"].values:
        axes.plot(part["layer"], part["r"].sel(role=role), color=pen.colour, lw=0.6, alpha=0.45, zorder=2)
    _curve(axes, summary, COMMAS, comparison, pen, label)


def _ceiling(axes: Axes, part: xr.Dataset) -> None:
    if part["ceiling_low"].notnull().any():
        low, high = (part[name] for name in CEILINGS)
        axes.fill_between(part["layer"], low, high, color=FAINT, alpha=0.25, lw=0, label="noise ceiling, last token")


def stages_by_layer(summary: xr.Dataset) -> NamedFigure:
    """Fig 1c: position at the commas, position at the last token, features at the last token."""
    figure = canvas(7.2, 3.2)
    axes = figure.subplots()
    _ceiling(axes, last_token(summary))
    _at_commas(axes, summary, "features", PURPLE, "features, commas")
    _at_commas(axes, summary, "position", BLUE, "position, commas")
    _at_last(axes, summary, "position", ORANGE, "position, last token")
    _at_last(axes, summary, "features", GREEN, "features, last token")
    over_layers(axes, summary.sizes["layer"])
    axes.set_ylabel("Pearson r with the target RSM")
    above(axes, 3 if last_token(summary)["ceiling_low"].notnull().any() else 4)
    return NamedFigure(
        name="stages",
        title="Position and features by layer",
        caption=(
            "Correlation of the cosine similarities of all pairs of trials with the similarities of the object’s "
            "position and features. The object is the one just described (commas) or the target (last token). Thick "
            "lines at the commas are means; thin lines are single commas, and the “and” after the last described "
            f"object. Bands: {level_of(summary)} bootstrap intervals over trials. {_marks_text(summary)} Compare Fig "
            "1c of the paper."
        ),
        figure=figure,
        csv=tidy(summary.sel(comparison=["position", "features"]), [*STATISTICS, *CEILINGS]),
    )


def single_tokens(summary: xr.Dataset) -> NamedFigure:
    """Every token by itself: r over role and layer."""
    comparisons = ["position", "features"]
    rows = summary.sizes["role"]
    figure = canvas(7.2, 1.1 + 0.2 * rows)
    panels = figure.subplots(1, len(comparisons), sharey=True)
    r = summary["r"].sel(comparison=comparisons)
    low, high = min(0.0, float(r.fillna(0).min())), float(r.fillna(0).max())
    for axes, name in zip(panels, comparisons, strict=True):
        part = summary.sel(comparison=name).transpose("role", "layer", ...)
        edges = [np.arange(size + 1) - 0.5 for size in (summary.sizes["layer"], rows)]
        mesh = axes.pcolormesh(*edges, part["r"].values, cmap="cividis", vmin=low, vmax=high)
        for role, layer in np.argwhere(part["p_fwer"].values < summary.attrs["alpha"]):
            dark = part["r"].values[role, layer] < (low + high) / 2
            axes.plot(layer, role, ".", ms=3, color="white" if dark else "black")
        axes.set(title=name, xlabel="layer", ylim=(rows - 0.5, -0.5))
        axes.set_xticks(ticks(summary.sizes["layer"], 14))
        names = {COMMAS: "mean of these", LAST: "last token", single_commas(summary)["role"].values[-1]: "“and”"}
        axes.set_yticks(range(rows), [names.get(role, role) for role in summary["role"].values.tolist()])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.colorbar(mesh, ax=panels, label="r", pad=0.01, aspect=14).outline.set_linewidth(0.5)  # pyright: ignore
    return NamedFigure(
        name="roles",
        title="Every token by itself",
        caption=(
            "Correlations as in the figure above, brighter where larger: at every comma, their mean, and at the last "
            "token. Comma 0 follows the first described object; “and” follows the last one. Dots: family-wise p "
            f"against shuffled labels below {summary.attrs['alpha']} over layers."
        ),
        figure=figure,
        csv=tidy(summary, [*STATISTICS, *CEILINGS]),
    )


def partial_correlations(summary: xr.Dataset) -> NamedFigure:
    """Position given features and features given position."""
    figure = canvas(7.2, 2.6)
    panels = figure.subplots(1, 2, sharey=True)
    names = {"position | features": BLUE, "features | position": GREEN}
    for axes, draw, title in zip(panels, (_at_commas, _at_last), ("commas", "last token"), strict=True):
        for name, pen in names.items():
            draw(axes, summary, name, pen, name.replace("|", "given"))
        over_layers(axes, summary.sizes["layer"])
        axes.set_title(title)
    panels[0].set_ylabel("partial r")
    panels[1].legend(loc="best")
    return NamedFigure(
        name="partial",
        title="Position given features, and features given position",
        caption=(
            "Partial correlations: what either target RSM explains when the other is held constant. The design makes "
            "the two independent, so these stay close to the plain correlations. Lines are as above. "
            f"{_marks_text(summary)}"
        ),
        figure=figure,
        csv=tidy(summary.sel(comparison=list(names)), STATISTICS),
    )


def frames_by_layer(summary: xr.Dataset) -> NamedFigure:
    """Fig 2: relative position, absolute position and features at the last token; and each frame given the other."""
    figure = canvas(7.2, 3.3)
    panels = figure.subplots(1, 2, sharey=True)
    plain = {"relative": BLUE, "absolute": ORANGE, "features": GREEN}
    given = {"relative | absolute": BLUE, "absolute | relative": ORANGE}
    for axes, names, title in zip(panels, (plain, given), ("by itself", "given the other frame"), strict=True):
        if names is plain:
            _ceiling(axes, last_token(summary))
        for name, pen in names.items():
            _at_last(axes, summary, name, pen, name.replace("|", "given"))
        over_layers(axes, summary.sizes["layer"])
        axes.set_title(title, pad=30)
        above(axes, 2)
    panels[0].set_ylabel("Pearson r (left), partial r (right)")
    return NamedFigure(
        name="frames",
        title="Relative and absolute position at the last token",
        caption=(
            "Correlation of the cosine similarities of all pairs of trials with the similarities of the target’s cell "
            "within its 2x2 arrangement (relative), of its cell on the 3x3 lattice (absolute), and of its features. "
            "The two frames are necessarily correlated, so the right panel holds the other one constant. Bands: "
            f"{level_of(summary)} bootstrap intervals over trials. {_marks_text(summary)} Compare Fig 2 of the paper."
        ),
        figure=figure,
        csv=tidy(summary, [*STATISTICS, *CEILINGS]),
    )


def entropy_by_layer(summary: xr.Dataset) -> NamedFigure:
    """Figs 6 and 30-36: position by layer at low and high entropy, at the commas and at the last token."""
    figure = canvas(7.2, 2.8)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, draw, title in zip(panels, (_at_commas, _at_last), ("commas", "last token"), strict=True):
        for condition, pen in ENTROPY.items():
            draw(axes, summary.sel(condition=condition), "position", pen, f"{condition} entropy")
        over_layers(axes, summary.sizes["layer"])
        axes.set_title(title)
    panels[0].set_ylabel("Pearson r with position")
    panels[0].legend(loc="best")
    return NamedFigure(
        name="entropy",
        title="Position by layer at low and high entropy",
        caption=(
            "Low entropy: all conjunctions of few colours and shapes. High entropy: objects as distinct as possible. "
            "The position is that of the object just described (commas: mean, and each as a thin line) or of the "
            f"target (last token). Bands: {level_of(summary)} bootstrap intervals over trials. {_marks_text(summary)} "
            "Compare Figs 6 and 30–36 of the paper."
        ),
        figure=figure,
        csv=tidy(summary, [*STATISTICS, *CEILINGS]),
    )


def layer_means(summary: xr.Dataset) -> xr.Dataset:
    """``mean_r``: r with position, mean over layers; dims condition, token (commas, last)."""
    r = summary["r"].sel(comparison="position").mean("layer")
    tokens = {role: r.sel(role=role, drop=True) for role in (COMMAS, LAST)}
    whole = xr.concat(list(tokens.values()), xr.DataArray(list(tokens), dims="token", name="token"), coords="minimal")
    return xr.Dataset({"mean_r": whole.reset_coords(drop=True)})


def entropy_averages(summary: xr.Dataset) -> NamedFigure:
    """Fig 7: position averaged over layers, and accuracy."""
    figure = canvas(7.2, 2.5)
    left, right = figure.subplots(1, 2)
    means = layer_means(summary)
    scores = ("accuracy", "colour_accuracy")
    for index, (condition, pen) in enumerate(ENTROPY.items()):
        part = summary.sel(condition=condition)
        x = np.arange(2) + 0.36 * (index - 0.5)
        style = {"width": 0.34, "color": pen.colour, "hatch": ("///", "")[index], "ec": "white", "lw": 0}
        left.bar(x, means["mean_r"].sel(condition=condition, token=[COMMAS, LAST]), **style)
        right.bar(x, [float(part[name]) for name in scores], label=f"{condition} entropy", **style)
        for at, name in zip(x, scores, strict=True):
            ends = [float(part[f"{name}_low"]), float(part[f"{name}_high"])]
            right.plot([at, at], ends, color="white", lw=3.4)
            right.plot([at, at], ends, color=INK, lw=1.4)
    left.axhline(0, color=FAINT, lw=0.8)
    left.set_xticks([0, 1], ["commas", "last token"])
    left.set(ylabel="r with position")
    right.set_xticks([0, 1], ["whole answer", "colour"])
    right.set(ylabel="share of trials", ylim=(0, 1.02))
    for axes, title in ((left, "Mean over layers"), (right, "Accuracy")):
        axes.set_title(title, pad=18)
    above(right, 2)
    for axes in (left, right):
        axes.tick_params(axis="x", length=0)
    variables = [f"{name}{end}" for name in scores for end in ("", "_low", "_high")]
    return NamedFigure(
        name="averages",
        title="Position and accuracy under entropy",
        caption=(
            "Left: the correlations with position of the figure above, averaged over layers (and commas). Right: how "
            f"often the model begins with the correct answer, and how often with its colour; {level_of(summary)} "
            f"Wilson intervals, {summary.attrs['n']} trials a condition. Compare Fig 7 of the paper."
        ),
        figure=figure,
        csv=tidy(means.merge(summary[variables]), ["mean_r", *variables]),
    )
