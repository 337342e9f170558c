"""Maps of layers and heads from RSA: which heads' outputs are alike where places or features are alike."""

# ruff: noqa: RUF001  (typeset text: dashes and apostrophes as readers expect them)
from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle

from finst.experiments.cma.figures import BLACK, FRAME, edges, grid_axes
from finst.experiments.representations.rsa_figures import CEILINGS, COMMAS, LAST, STATISTICS
from finst.report.curves import BLUE, GREEN
from finst.report.figures import FAINT, STYLE, NamedFigure, canvas
from finst.report.tables import tidy
from finst.report.wording import number

SHOWN = {COMMAS: "commas", LAST: "last token"}
"""Roles that have maps, and what they are called."""

PENS = {"position": BLUE, "features": GREEN}


@dataclass(frozen=True, eq=False)
class Strongest:
    """A head with a large r."""

    layer: int
    head: int
    at: xr.Dataset
    """Its statistics."""

    @property
    def name(self) -> str:
        """Such as ``L3H4``: head 4 of layer 3, both counted from 0."""
        return f"L{self.layer}H{self.head}"


def strongest(part: xr.Dataset, count: int) -> list[Strongest]:
    """The heads with the largest r of one role and comparison, best first, without silent ones.

    Heads whose r is the same to two digits come in order of depth: later ones may carry on what the first one wrote.
    """
    r = part["r"].transpose("layer", "head").values
    known = int(np.isfinite(r).sum())
    order = np.argsort(-np.nan_to_num(r.round(2), nan=-np.inf), axis=None, kind="stable")[: min(count, known)]
    places = [(int(layer), int(head)) for layer, head in zip(*np.unravel_index(order, r.shape), strict=True)]
    return [Strongest(layer, head, part.sel(layer=layer, head=head)) for layer, head in places]


def head_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims role, layer, head, comparison."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return head_maps(summary), head_maps(summary, given=True)


def head_maps(summary: xr.Dataset, *, given: bool = False) -> NamedFigure:
    """Position and features, at the commas (mean) and at the last token; or each given the other."""
    other = {"position": "features", "features": "position"}
    comparisons = {name: f"{name} | {other[name]}" if given else name for name in PENS}
    height = min(3.6, 0.16 * summary.sizes["head"] + 0.55)
    figure = canvas(7.2, 0.6 + 2 * (0.3 + height))
    grid = figure.subplots(len(SHOWN), len(PENS), sharex=True, sharey=True)
    for line, (role, token) in zip(grid, SHOWN.items(), strict=True):
        for axes, (name, comparison) in zip(line, comparisons.items(), strict=True):
            part = summary.sel(role=role, comparison=comparison)
            mesh = _draw(axes, part, LinearSegmentedColormap.from_list(name, ["white", PENS[name].colour]))
            axes.set_title(f"{comparison.replace('|', 'given')}, {token}", pad=14)
            alpha = summary.attrs["alpha"]
            best = strongest(part, 1)[0]
            said = f"largest: {best.name}, r = {number(float(best.at['r']), 2)}"
            counted = f"{int((part['p_fwer'] < alpha).sum())} of {part['r'].size} significant"
            axes.text(0, 1.02, f"{said}; {counted}", transform=axes.transAxes, fontsize=7)
            _outline(axes, part, alpha)
            bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=16)
            bar.outline.set_linewidth(0.5)  # pyright: ignore[reportCallIssue]
            bar.set_label("partial r" if given else "r")
            axes.label_outer()
    return NamedFigure(
        name="heads-partial" if given else "heads",
        title="Heads: position and features given each other"
        if given
        else "Heads whose outputs hold position and features",
        caption=(
            "Correlation of the cosine similarities of one head’s outputs, over all pairs of trials, with those of the "
            f"object’s position and features{' when the other is held constant' if given else ''}: of the object just "
            "described at its comma (mean over commas), of the target at the last token. Intensity is r, from zero or "
            f"less (white) to 1. Outlined: family-wise p below {summary.attrs['alpha']} over all layers and heads; "
            "dot: the largest; crossed out: silent heads. An output may hold what no later layer reads: mediation "
            "tells."
        ),
        figure=figure,
        csv=tidy(summary.sel(comparison=list(comparisons.values())), [*STATISTICS, *CEILINGS, "norm"]),
    )


def _draw(axes: Axes, part: xr.Dataset, colours: LinearSegmentedColormap) -> QuadMesh:
    r = part["r"].transpose("head", "layer").values
    mesh = axes.pcolormesh(
        edges(part.sizes["layer"]),
        edges(part.sizes["head"]),
        np.ma.masked_invalid(r),
        cmap=colours,
        norm=Normalize(0, 1),
        edgecolors=FRAME,
        linewidth=min(0.4, 5 / part.sizes["layer"]),
    )
    grid_axes(axes, part, layer_ticks=14)
    head, layer = np.nonzero(np.isnan(r))
    axes.plot(layer, head, "x", color=FAINT, ms=3.5, mew=0.7)
    return mesh


def _outline(axes: Axes, part: xr.Dataset, alpha: float) -> None:
    for layer, head in np.argwhere((part["p_fwer"] < alpha).transpose("layer", "head").values):
        axes.add_patch(Rectangle((layer - 0.5, head - 0.5), 1, 1, fill=False, ec=BLACK, lw=0.8, clip_on=False))
    for best in strongest(part, 1):
        axes.plot([best.layer], [best.head], "o", ms=3.5, mfc="white", mec=BLACK, mew=0.8)
