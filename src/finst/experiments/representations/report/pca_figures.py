"""The figures of principal components: the best planes (Fig 1b), all layers (May Fig 26), numbers by layer."""

# ruff: noqa: RUF001  (typeset text: dashes and apostrophes as readers expect them)
from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from finst.report.curves import PENS, Pen, curve, over_layers
from finst.report.figures import FAINT, NamedFigure, canvas, styled
from finst.report.tables import tidy
from finst.report.wording import level_of, listed

MOST_POINTS = 432
"""Trials drawn in a plane: whole blocks of all designs, so that every label is there equally often."""

MARKERS = "os^DvP*X<"

HUES = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9", "#000000", "#882255", "#999933")
"""One a value of a label, with ``MARKERS``: nine at most, the cells of a 3x3 lattice."""

COLUMNS = 5
"""Layers side by side."""

PROBES = {"probe", "plane_probe"}
"""Variables that are accuracies, and so have a level of chance."""


@styled
def plane_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figures of a summary with dims view, layer, trial, component, label (Fig 1b; May Fig 26)."""
    figures = [best_planes(summary), separability(summary)]
    for view in summary["view"].values.tolist():
        part = summary.sel(view=view)
        labels = part["label"].values[part["probe"].notnull().any("layer").values].tolist()
        figures += [all_layers(part, view, label) for label in labels]
    return tuple(figures)


def best_layers(part: xr.Dataset) -> dict[str, int]:
    """For each label that varies, the layer whose plane separates it best (largest silhouette; the first of equals).

    Where no plane separates it (no silhouette is above 0), the layer at which the probe on all components does best.
    ``part`` is one view of a summary.
    """
    layers = {}
    for label in part["label"].values.tolist():
        statistics = part.sel(label=label)
        if statistics["silhouette"].notnull().any():
            by_probe = statistics["silhouette"].max() <= 0 and statistics["probe"].notnull().any()
            values = statistics["probe"] if by_probe else statistics["silhouette"]
            layers[label] = int(values["layer"].values[int(values.round(2).argmax("layer"))])
    return layers


def _drawn_trials(part: xr.Dataset) -> xr.Dataset:
    """The first trials of the view."""
    trials = np.flatnonzero(part["score"].isel(layer=0, component=0).notnull().values)
    return part.isel(trial=trials[:MOST_POINTS])


def _plane(axes: Axes, part: xr.Dataset, layer: int, label: str, size: float) -> None:
    """All trials of ``part`` along the first two components of one layer, coloured by one label."""
    scores = part["score"].sel(layer=layer)
    x, y = (scores.sel(component=component).values for component in (1, 2))
    values = part["value"].sel(label=label).values
    for index, value in enumerate(sorted(set(values.tolist()))):
        chosen = values == value
        marks = {"marker": MARKERS[index % 9], "s": size, "lw": 0, "alpha": 0.75, "color": HUES[index % 9]}
        axes.scatter(x[chosen], y[chosen], label=_value_text(value, label), **marks)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.06)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)


def _value_text(value: str, label: str) -> str:
    """A label's value for the legend: a cell by row and column, any other as it is."""
    if not label.endswith("position"):
        return value
    row, col = divmod(int(value), 3)
    return f"row {row}, col {col}"


def best_planes(summary: xr.Dataset) -> NamedFigure:
    """Fig 1b: at the layers that separate each label best, the plane coloured by every label."""
    views = summary["view"].values.tolist()
    labels = {view: best_layers(summary.sel(view=view)) for view in views}
    best = {view: _labels_by_layer(layers) for view, layers in labels.items()}
    rows = [(view, label) for view in views for label in labels[view]]
    columns = max(len(layers) for layers in best.values())
    figure = canvas(min(7.2, 1.7 + 2.6 * columns), 0.3 + 1.85 * len(rows))
    grid = figure.subplots(len(rows), columns + 1, squeeze=False, width_ratios=[1] * columns + [0.62])
    for line, (view, label) in zip(grid, rows, strict=True):
        part = _drawn_trials(summary.sel(view=view))
        for column, axes in enumerate(line):
            if column >= len(best[view]):
                axes.axis("off")
                continue
            layer, names = list(best[view].items())[column]
            _plane(axes, part, layer, label, 9)
            explained = part["explained"].sel(layer=layer).values
            axes.set_title(f"layer {layer}: {names}", fontsize=7.5, fontweight="normal")
            axes.set_xlabel(f"PC 1 ({explained[0]:.0%})", fontsize=7, labelpad=2)
            axes.set_ylabel(f"PC 2 ({explained[1]:.0%})", fontsize=7, labelpad=2)
        view_line = "" if len(views) == 1 else f"{view}\n"
        legend = {"title": f"{view_line}by {label}", "title_fontsize": 7, "fontsize": 6.5, "alignment": "left"}
        line[-1].legend(*line[0].get_legend_handles_labels(), loc="center left", handletextpad=0.1, **legend)
    return NamedFigure(
        name="planes",
        title="The planes that separate best",
        caption=(
            "The first two principal components at the layers where each label separates best: in the plane (largest "
            "silhouette) or, if no plane separates it, by a probe on more components. Above each panel: the layer, and "
            "the labels that it is best for. Each row colours the same points by another label. In brackets: the share "
            f"of variance. {_points_text(summary)}Compare Fig 1b of the paper."
        ),
        figure=figure,
        csv=_table(summary, sorted({layer for layers in best.values() for layer in layers})),
    )


def _labels_by_layer(best: dict[str, int]) -> dict[int, str]:
    """The layers that are best for any label, each with its labels in words."""
    return {layer: listed(label for label, at in best.items() if at == layer) for layer in sorted(set(best.values()))}


def _points_text(summary: xr.Dataset) -> str:
    count = summary.sizes["trial"]
    return f"At most {MOST_POINTS} of {count} trials are drawn; the data hold all. " if count > MOST_POINTS else ""


def _table(summary: xr.Dataset, layers: list[int]) -> str:
    """One row a trial and layer: both components, and the value of every label."""
    scores = summary["score"].sel(layer=layers)
    wide = xr.Dataset({f"pc{k}": scores.sel(component=k, drop=True) for k in (1, 2)})
    values = {name.replace(" ", "_"): summary["value"].sel(label=name, drop=True) for name in summary["label"].values}
    return tidy(wide.assign(values), [*wide.data_vars, *values])  # pyright: ignore[reportArgumentType]


def all_layers(part: xr.Dataset, view: str, label: str) -> NamedFigure:
    """The plane of every layer, coloured by one label."""
    layers = part["layer"].values.tolist()
    rows = -(-len(layers) // COLUMNS)
    figure = canvas(7.2, 0.5 + 1.3 * rows)
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    drawn = _drawn_trials(part)
    for axes in grid[len(layers) :]:
        axes.axis("off")
    for axes, layer in zip(grid, layers, strict=False):
        _plane(axes, drawn, layer, label, 5)
        probe = float(part["plane_probe"].sel(layer=layer, label=label))
        axes.set_title(f"layer {layer}: {probe:.0%}", fontsize=7.5, fontweight="normal", pad=2)
    handles, texts = grid[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=min(6, len(texts)), handletextpad=0.1, fontsize=7)
    slug = f"{view} {label}".replace(" objects", "").replace(" object", "").replace(" ", "-")
    return NamedFigure(
        name=f"layers-{slug}",
        title=f"All layers by {label}, {view}",
        caption=(
            "The first two principal components of every layer. Above each panel: held-out accuracy of a linear probe "
            f"for {label} on these two (chance: {float(part['chance'].sel(label=label).max()):.0%}). "
            f"{_points_text(part)}Compare Fig 26 of the paper’s update of May 2026."
        ),
        figure=figure,
        csv=_table(part, layers),
    )


def separability(summary: xr.Dataset) -> NamedFigure:
    """How far each label separates, by layer: probes on many components and on the plane, and the silhouette."""
    views = summary["view"].values.tolist()
    figure = canvas(7.2, 0.7 + 2.0 * len(views))
    grid = figure.subplots(len(views), 3, squeeze=False)
    titles = {"probe": f"probe, {summary.attrs['components']} components", "plane_probe": "probe, plane"}
    titles |= {"silhouette": "silhouette, plane"}
    for line, view in zip(grid, views, strict=True):
        part = summary.sel(view=view)
        for axes, (variable, title) in zip(line, titles.items(), strict=True):
            for pen, label in zip(PENS, part["label"].values.tolist(), strict=False):
                _separability_curve(axes, part.sel(label=label), variable, pen, label)
            over_layers(axes, summary.sizes["layer"], zero=variable not in PROBES)
            axes.set_title(title if len(views) == 1 else f"{view}: {title}", fontsize=8)
            if variable in PROBES:
                axes.set_ylim(0, 1.04)
    handles, texts = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=4)
    return NamedFigure(
        name="separability",
        title="How far labels separate, by layer",
        caption=(
            f"Left: held-out accuracy of a linear probe on the first components (band: {level_of(summary)} Wilson "
            "interval). Middle: on the first two alone. Dotted: chance. Right: mean silhouette in the plane of the "
            f"first two. Probes use {summary.sizes['trial']} trials, in up to five folds of whole blocks of the design."
        ),
        figure=figure,
        csv=tidy(summary, ["probe", "probe_low", "probe_high", "chance", "plane_probe", "silhouette"]),
    )


def _separability_curve(axes: Axes, part: xr.Dataset, variable: str, pen: Pen, label: str) -> None:
    """One variable of one label over layers; nothing for a label that is constant in the view."""
    if part[variable].isnull().all():
        return
    low, high = (part["probe_low"], part["probe_high"]) if variable == "probe" else (None, None)
    curve(axes, part[variable], pen, label, low=low, high=high)
    if variable in PROBES:
        axes.axhline(float(part["chance"].max()), color=pen.colour, lw=0.7, ls=(0, (1, 2)))
