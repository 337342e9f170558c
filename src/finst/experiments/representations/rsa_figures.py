"""The figures of RSA: stages (Figs 1c, 14-19), frames of reference (Figs 2, 26-28), entropy (Figs 6, 7, 30-36)."""

# ruff: noqa: RUF001  (typeset text: dashes and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from finst.report.curves import BLUE, GREEN, ORANGE, PURPLE, Pen, above, curve, over_layers
from finst.report.figures import FAINT, INK, STYLE, NamedFigure, canvas, ticks
from finst.report.tables import tidy
from finst.report.wording import level_of

LAST, COMMAS = "last", "commas"
"""The roles that stand for the last token, and for the mean over all commas."""

STATISTICS = ["r", "p", "p_fwer", "ci_low", "ci_high", "spearman"]
CEILINGS = ["ceiling_low", "ceiling_high"]


def commas(summary: xr.Dataset) -> xr.Dataset:
    """The roles that are single commas."""
    return summary.isel(role=~np.isin(summary["role"].values, [LAST, COMMAS]))


def last(summary: xr.Dataset) -> xr.Dataset:
    """The last token."""
    return summary.sel(role=LAST)


def stage_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims role, layer, comparison."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return stages(summary), roles(summary), partial_correlations(summary)


def frame_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims role (the last alone), layer, comparison."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return (frames(summary),)


def entropy_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims condition, role, layer, comparison, and accuracies by condition."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return entropy(summary), entropy_averages(summary)


def _marks(summary: xr.Dataset) -> str:
    alpha = summary.attrs["alpha"]
    return f"Filled marks: family-wise p below {alpha} over layers (label permutation, largest r); hollow: not."


def _curve(axes: Axes, summary: xr.Dataset, role: str, comparison: str, pen: Pen, label: str) -> None:
    part = summary.sel(role=role, comparison=comparison)
    solid = part["p_fwer"] < summary.attrs["alpha"]
    curve(axes, part["r"], pen, label, low=part["ci_low"], high=part["ci_high"], solid=solid)


def _at_last(axes: Axes, summary: xr.Dataset, comparison: str, pen: Pen, label: str) -> None:
    _curve(axes, summary, LAST, comparison, pen, label)


def _at_commas(axes: Axes, summary: xr.Dataset, comparison: str, pen: Pen, label: str) -> None:
    """The mean over commas, and every comma as a thin line."""
    part = commas(summary).sel(comparison=comparison)
    for role in part["role"].values:
        axes.plot(part["layer"], part["r"].sel(role=role), color=pen.colour, lw=0.6, alpha=0.45, zorder=2)
    _curve(axes, summary, COMMAS, comparison, pen, label)


def _ceiling(axes: Axes, part: xr.Dataset) -> None:
    if part["ceiling_low"].notnull().any():
        low, high = (part[name] for name in CEILINGS)
        axes.fill_between(part["layer"], low, high, color=FAINT, alpha=0.25, lw=0, label="noise ceiling, last token")


def stages(summary: xr.Dataset) -> NamedFigure:
    """Fig 1c: position at the commas, position at the last token, features at the last token."""
    figure = canvas(7.2, 3.2)
    axes = figure.subplots()
    _ceiling(axes, last(summary))
    _at_commas(axes, summary, "features", PURPLE, "features, commas")
    _at_commas(axes, summary, "position", BLUE, "position, commas")
    _at_last(axes, summary, "position", ORANGE, "position, last token")
    _at_last(axes, summary, "features", GREEN, "features, last token")
    over_layers(axes, summary.sizes["layer"])
    axes.set_ylabel("Pearson r with the target RSM")
    above(axes, 3 if last(summary)["ceiling_low"].notnull().any() else 4)
    return NamedFigure(
        name="stages",
        title="Position and features by layer",
        caption=(
            "Correlation of the cosine similarities of all pairs of trials with those of the object’s position and "
            "features: of the object just described at its comma (mean; thin lines: every comma, and the "
            "“and” after the last described object), of the target at the last token. Bands: "
            f"{level_of(summary)} bootstrap intervals over trials. {_marks(summary)} Compare "
            "Fig 1c of the paper."
        ),
        figure=figure,
        csv=tidy(summary.sel(comparison=["position", "features"]), [*STATISTICS, *CEILINGS]),
    )


def roles(summary: xr.Dataset) -> NamedFigure:
    """Every token by itself: r over role and layer."""
    shown = ("position", "features")
    rows = summary.sizes["role"]
    figure = canvas(7.2, 1.1 + 0.2 * rows)
    panels = figure.subplots(1, len(shown), sharey=True)
    found = summary["r"].sel(comparison=list(shown))
    low, high = min(0.0, float(found.min())), float(found.max())
    for axes, name in zip(panels, shown, strict=True):
        part = summary.sel(comparison=name).transpose("role", "layer", ...)
        edges = [np.arange(size + 1) - 0.5 for size in (summary.sizes["layer"], rows)]
        mesh = axes.pcolormesh(*edges, part["r"].values, cmap="cividis", vmin=low, vmax=high)
        for role, layer in np.argwhere(part["p_fwer"].values < summary.attrs["alpha"]):
            dark = part["r"].values[role, layer] < (low + high) / 2
            axes.plot(layer, role, ".", ms=3, color="white" if dark else "black")
        axes.set(title=name, xlabel="layer", ylim=(rows - 0.5, -0.5))
        axes.set_xticks(ticks(summary.sizes["layer"], 14))
        names = {COMMAS: "mean of these", LAST: "last token", commas(summary)["role"].values[-1]: "“and”"}
        axes.set_yticks(range(rows), [names.get(role, role) for role in summary["role"].values.tolist()])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.colorbar(mesh, ax=panels, label="r", pad=0.01, aspect=14).outline.set_linewidth(0.5)  # pyright: ignore
    return NamedFigure(
        name="roles",
        title="Every token by itself",
        caption=(
            "Correlations as in the figure above, at every comma (comma 0 follows the first described object; the "
            "word “and” the last one), their mean, and at the last token, brighter where larger. Dots: family-wise p "
            f"below {summary.attrs['alpha']} over layers."
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
            f"the two independent, so these stay close to the plain correlations. Lines as above. {_marks(summary)}"
        ),
        figure=figure,
        csv=tidy(summary.sel(comparison=list(names)), STATISTICS),
    )


def frames(summary: xr.Dataset) -> NamedFigure:
    """Fig 2: relative position, absolute position and features at the last token; and each frame given the other."""
    figure = canvas(7.2, 3.3)
    panels = figure.subplots(1, 2, sharey=True)
    plain = {"relative": BLUE, "absolute": ORANGE, "features": GREEN}
    given = {"relative | absolute": BLUE, "absolute | relative": ORANGE}
    for axes, names, title in zip(panels, (plain, given), ("by itself", "given the other frame"), strict=True):
        if names is plain:
            _ceiling(axes, last(summary))
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
            "Correlation of the cosine similarities of all pairs of trials with those of the target’s cell within its "
            "2x2 arrangement (relative), its cell on the 3x3 lattice (absolute), and its features. The two frames are "
            "correlated by necessity, so the right panel holds the other one constant. Bands: "
            f"{level_of(summary)} bootstrap intervals over trials. {_marks(summary)} Compare Fig 2 of the paper."
        ),
        figure=figure,
        csv=tidy(summary, [*STATISTICS, *CEILINGS]),
    )


ENTROPY: Mapping[str, Pen] = {"low": ORANGE, "high": BLUE}


def entropy(summary: xr.Dataset) -> NamedFigure:
    """Figs 6 and 30-36: position by layer, low against high entropy, at the commas and at the last token."""
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
            "Low entropy: all conjunctions of few colours and shapes; high: objects as distinct as possible. Position "
            "of the object just described (commas: mean, and each as a thin line) and of the target (last token). "
            f"Bands: {level_of(summary)} bootstrap intervals over trials. {_marks(summary)} Compare Figs 6 and "
            "30–36 of the paper."
        ),
        figure=figure,
        csv=tidy(summary, [*STATISTICS, *CEILINGS]),
    )


def averages(summary: xr.Dataset) -> xr.Dataset:
    """r with position, mean over layers: dims condition, token (commas, last)."""
    r = summary["r"].sel(comparison="position").mean("layer")
    tokens = {role: r.sel(role=role, drop=True) for role in (COMMAS, LAST)}
    whole = xr.concat(list(tokens.values()), xr.DataArray(list(tokens), dims="token", name="token"), coords="minimal")
    return xr.Dataset({"mean_r": whole.reset_coords(drop=True)})


def entropy_averages(summary: xr.Dataset) -> NamedFigure:
    """Fig 7: position averaged over layers, and accuracy."""
    figure = canvas(7.2, 2.5)
    left, right = figure.subplots(1, 2)
    means = averages(summary)
    for place, (condition, pen) in enumerate(ENTROPY.items()):
        part = summary.sel(condition=condition)
        x = np.arange(2) + 0.36 * (place - 0.5)
        style = {"width": 0.34, "color": pen.colour, "hatch": ("///", "")[place], "ec": "white", "lw": 0}
        left.bar(x, means["mean_r"].sel(condition=condition, token=["commas", "last"]), **style)
        shown = [part[name] for name in ("accuracy", "colour_accuracy")]
        right.bar(x, [float(value) for value in shown], label=f"{condition} entropy", **style)
        for at, name in zip(x, ("accuracy", "colour_accuracy"), strict=True):
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
    named = ["accuracy", "accuracy_low", "accuracy_high", "colour_accuracy", "colour_accuracy_low"]
    return NamedFigure(
        name="averages",
        title="Position and accuracy under entropy",
        caption=(
            "Left: the correlations with position of the figure above, averaged over layers (and commas). Right: how "
            f"often the model begins with the right answer, and with its colour, with {level_of(summary)} Wilson "
            f"intervals ({summary.attrs['n']} trials a condition). Compare Fig 7 of the paper."
        ),
        figure=figure,
        csv=tidy(means.merge(summary[[*named, "colour_accuracy_high"]]), ["mean_r", *named, "colour_accuracy_high"]),
    )
