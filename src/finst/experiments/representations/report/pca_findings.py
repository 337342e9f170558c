"""The results of ``pca`` in words and in a table (Fig 1b; May Fig 26)."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from finst.experiments.representations.report.method import design_text, exact_text, reading_text
from finst.experiments.representations.report.pca_figures import best_layers
from finst.report.findings import Findings
from finst.report.wording import capital, listed, number, percent


def pca_findings(summary: xr.Dataset) -> Findings:
    """The results of a summary with dims view, layer, trial, component, label."""
    best = {view: best_layers(summary.sel(view=view)) for view in summary["view"].values.tolist()}
    sentences, rows = [], []
    for view, layers in best.items():
        for label, layer in layers.items():
            part = summary.sel(view=view, label=label)
            sentences.append(_best_text(part, view, label, layer))
            rows += [_layer_row(part, view, label, at) for at in part["layer"].values.tolist()]
    components = summary.attrs["components"]
    first_view, first_layers = next(iter(best.items()))
    return Findings(
        title="principal components by layer",
        headline=_headline(summary["silhouette"].sel(view=first_view), first_layers),
        sentences=(*sentences, exact_text(summary)),
        columns=("view", "label", "layer", "probe", "probe on the plane", "chance", "silhouette"),
        rows=tuple(rows),
        method=(
            design_text(summary),
            reading_text(summary) + f" Components are those of the token “{summary.attrs['role']}”, layer by layer.",
            f"Probes are linear discriminants on the first {components} components of all trials, and on the first "
            "two. They are tested on held-out trials, in up to five folds. Folds are whole blocks of the design, in "
            "which every object is in every cell equally often. Labels that divide the trials in the same way are "
            "merged.",
        ),
    )


def _headline(silhouette: xr.DataArray, best: Mapping[str, int]) -> str:
    """The layers whose planes separate the labels best, from the silhouettes (layer, label) of one view."""
    separated = [name for name in best if silhouette.sel(label=name).max() > 0]
    never = [name for name in best if name not in separated]
    layers = listed(f"{name} in layer {best[name]}" for name in separated)
    parts = [f"the plane of two principal components separates {layers} best"] if separated else []
    parts += [f"no plane separates {listed(never)}"] if never else []
    return f"{capital('; '.join(parts))}."


def _best_text(part: xr.Dataset, view: str, label: str, layer: int) -> str:
    best = part.sel(layer=layer)
    probe, plane_probe, chance = (percent(float(best[name])) for name in ("probe", "plane_probe", "chance"))
    return (
        f"{view}: {label} separates best in layer {layer} (silhouette {number(float(best['silhouette']), 2)}; probe "
        f"on the plane {plane_probe}, on {part.attrs['components']} components {probe}, chance {chance})"
    )


def _layer_row(part: xr.Dataset, view: str, label: str, layer: int) -> tuple[str, ...]:
    statistics = part.sel(layer=layer)
    shares = (percent(float(statistics[name])) for name in ("probe", "plane_probe", "chance"))
    return view, label, str(layer), *shares, number(float(statistics["silhouette"]), 3)
