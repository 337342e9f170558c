"""The results of ``pca`` in words and in a table (Fig 1b; May Fig 26)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from finst.analysis.proportions import above_share, wilson
from finst.experiments.representations.report.method import design_text, exact_text, reading_text
from finst.experiments.representations.report.pca_figures import best_layers
from finst.report.findings import Findings
from finst.report.wording import capital, counted, listed, number, probability, sampled, share, share_interval

BEST_RULE = (
    "“best” is the first of the layers with the largest silhouette to two digits or, where none is above 0, with the "
    "most accurate probe"
)


def pca_findings(summary: xr.Dataset) -> Findings:
    """The results of a summary with dims view, layer, trial, component, label."""
    best = {view: best_layers(summary.sel(view=view)) for view in summary["view"].values.tolist()}
    sentences, rows = [], []
    for view, layers in best.items():
        for label, layer in layers.items():
            part = summary.sel(view=view, label=label)
            sentences.append(_best_text(summary.sel(view=view), view, label, layer))
            rows += [_layer_row(part, view, label, at) for at in part["layer"].values.tolist()]
    components = summary.attrs["components"]
    first_view, first_layers = next(iter(best.items()))
    return Findings(
        title="principal components by layer",
        headline=_headline(summary.sel(view=first_view), first_layers),
        sentences=(*sentences, exact_text(summary), BEST_RULE),
        columns=("view", "label", "layer", "probe", "probe on the plane", "chance", "silhouette"),
        rows=tuple(rows),
        method=(
            design_text(summary),
            reading_text(summary) + f" Components are those of the token “{summary.attrs['role']}”, layer by layer.",
            f"Probes are linear discriminants on the first {components} components of all trials, and on the first "
            "two. They are tested on held-out trials, in up to five folds. Folds are whole blocks of the design, in "
            "which every object is in every cell equally often. Labels that divide the trials in the same way are "
            "merged. p is one-sided and binomial, against the share of the most frequent label (chance), and "
            "multiplied by the number of layers.",
        ),
    )


def _headline(part: xr.Dataset, best: Mapping[str, int]) -> str:
    """The layers whose planes separate the labels best in one view, with the accuracy of the probe there."""
    separated = [name for name in best if part["silhouette"].sel(label=name).max() > 0]
    never = [name for name in best if name not in separated]
    layers = listed(f"{name} in layer {best[name]} ({_plane_probe(part, name, best[name])})" for name in separated)
    parts = [f"the plane of two principal components separates {layers} best"] if separated else []
    parts += [f"no plane separates {listed(never)}"] if never else []
    return f"{capital('; '.join(parts))} ({sampled(_trials(part), 'trial')})."


def _trials(part: xr.Dataset) -> int:
    """The trials of one view."""
    return int(part["score"].isel(layer=0, component=0).notnull().sum())


def _plane_probe(part: xr.Dataset, label: str, layer: int) -> str:
    """The probe on the plane of one layer with its interval, and its p against chance over all layers."""
    at, n = part.sel(label=label, layer=layer), _trials(part)
    probe, chance = float(at["plane_probe"]), float(at["chance"])
    if np.isnan(probe):
        return "no probe: the trials do not determine one"
    right = round(probe * n)
    p = min(1.0, above_share(right, n, chance) * part.sizes["layer"])
    shares = share_interval(probe, *wilson(right, n, 1 - part.attrs["alpha"]))
    return f"probe {shares}, {probability(p, f'chance, {chance:.1%}')}"


def _best_text(part: xr.Dataset, view: str, label: str, layer: int) -> str:
    at = part.sel(layer=layer, label=label)
    probe = share_interval(*(float(at[name]) for name in ("probe", "probe_low", "probe_high")))
    return (
        f"{view}: {label} separates best in layer {layer} (silhouette {number(float(at['silhouette']), 2)}; on the "
        f"plane {_plane_probe(part, label, layer)}; on {counted(part.attrs['components'], 'component')} {probe}; "
        f"{sampled(_trials(part), 'trial')})"
    )


def _layer_row(part: xr.Dataset, view: str, label: str, layer: int) -> tuple[str, ...]:
    statistics = part.sel(layer=layer)
    shares = (share(float(statistics[name])) for name in ("probe", "plane_probe", "chance"))
    return view, label, str(layer), *shares, number(float(statistics["silhouette"]), 3)
