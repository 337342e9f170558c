"""Maps of layers and heads from RSA: heads whose outputs are similar where positions or features are similar."""

# ruff: noqa: RUF001  (typeset text: dashes and apostrophes as readers expect them)
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle

from finst.experiments.cma.figures import BLACK, FRAME, edges, grid_axes
from finst.experiments.representations.report.rsa_figures import CEILINGS, STATISTICS
from finst.experiments.representations.roles import COMMAS, LAST
from finst.report.curves import BLUE, GREEN
from finst.report.figures import FAINT, NamedFigure, canvas, styled
from finst.report.tables import tidy
from finst.report.wording import number

TOKENS = {COMMAS: "commas", LAST: "last token"}
"""The roles that have maps, and what they are called."""

PENS = {"position": BLUE, "features": GREEN}
"""The targets that have maps, in their colours."""

OTHER = {"position": "features", "features": "position"}
"""The target that is held constant in a partial correlation."""


@dataclass(frozen=True, eq=False)
class RankedHead:
    """A head with a large r."""

    layer: int
    head: int
    statistics: xr.Dataset
    """The summary at this head, for one role and comparison; no dims."""

    @property
    def name(self) -> str:
        """Such as ``L3H4``: head 4 of layer 3, both counted from 0."""
        return f"L{self.layer}H{self.head}"


def strongest_heads(part: xr.Dataset, count: int) -> list[RankedHead]:
    """The up to ``count`` heads with the largest r, largest first; inactive heads, which have no r, are left out.

    ``part`` is a summary at one role and comparison: dims layer, head. Heads whose r is the same to two digits come in
    order of depth, since a later head may only copy what an earlier one wrote.
    """
    r = part["r"].transpose("layer", "head").values
    active = int(np.isfinite(r).sum())
    order = np.argsort(-np.nan_to_num(r.round(2), nan=-np.inf), axis=None, kind="stable")[: min(count, active)]
    heads = [(int(layer), int(head)) for layer, head in zip(*np.unravel_index(order, r.shape), strict=True)]
    return [RankedHead(layer, head, part.sel(layer=layer, head=head)) for layer, head in heads]


@styled
def head_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figures of a summary with dims role, layer, head, comparison: maps of plain and of partial correlations."""
    return head_maps(summary), head_maps(summary, given=True)


def head_maps(summary: xr.Dataset, *, given: bool = False) -> NamedFigure:
    """r of position and features, at the commas (mean) and at the last token; ``given``: of each given the other."""
    alpha = summary.attrs["alpha"]
    comparisons = {name: f"{name} | {OTHER[name]}" if given else name for name in PENS}
    height = min(3.6, 0.16 * summary.sizes["head"] + 0.55)
    figure = canvas(7.2, 0.6 + 2 * (0.3 + height))
    grid = figure.subplots(len(TOKENS), len(PENS), sharex=True, sharey=True)
    for line, (role, token) in zip(grid, TOKENS.items(), strict=True):
        for axes, (name, comparison) in zip(line, comparisons.items(), strict=True):
            part = summary.sel(role=role, comparison=comparison)
            mesh = _draw_map(axes, part, LinearSegmentedColormap.from_list(name, ["white", PENS[name].colour]))
            axes.set_title(f"{comparison.replace('|', 'given')}, {token}", pad=14)
            axes.text(0, 1.02, _map_text(part, alpha), transform=axes.transAxes, fontsize=7)
            _mark_heads(axes, part, alpha)
            bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=16)
            bar.outline.set_linewidth(0.5)  # pyright: ignore[reportCallIssue]
            bar.set_label("partial r" if given else "r")
            axes.label_outer()
    return NamedFigure(
        name="heads-partial" if given else "heads",
        title=f"Heads whose outputs hold position and features{', given each other' if given else ''}",
        caption=(
            "Correlation of the cosine similarities of one head’s outputs, over all pairs of trials, with the "
            f"similarities of the object’s position and features{', the other held constant' if given else ''}. The "
            "object is the one just described (commas, mean over them) or the target (last token). Colour is r, from "
            f"zero or less (white) to 1. Outlined: family-wise p against shuffled labels below {alpha} over all layers "
            "and heads. Dot: the largest r (the earliest head of those equal to two digits). Cross: inactive heads. "
            "Later layers need not read what an output holds; causal mediation measures that."
        ),
        figure=figure,
        csv=tidy(summary.sel(comparison=list(comparisons.values())), [*STATISTICS, *CEILINGS, "norm"]),
    )


def _map_text(part: xr.Dataset, alpha: float) -> str:
    """The largest head, and how many are significant."""
    largest, tested = strongest_heads(part, 1), int(part["r"].notnull().sum())
    if not largest:
        return "r is not defined for any head"
    significant = int((part["p_fwer"] < alpha).sum())
    r = number(float(largest[0].statistics["r"]), 2)
    return f"largest: {largest[0].name}, r = {r}; {significant} of {tested} with an r significant"


def _draw_map(axes: Axes, part: xr.Dataset, colours: LinearSegmentedColormap) -> QuadMesh:
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


def _mark_heads(axes: Axes, part: xr.Dataset, alpha: float) -> None:
    """Outlines of significant heads, and a dot on the largest."""
    for layer, head in np.argwhere((part["p_fwer"] < alpha).transpose("layer", "head").values):
        axes.add_patch(Rectangle((layer - 0.5, head - 0.5), 1, 1, fill=False, ec=BLACK, lw=0.8, clip_on=False))
    for largest in strongest_heads(part, 1):
        axes.plot([largest.layer], [largest.head], "o", ms=3.5, mfc="white", mec=BLACK, mew=0.8)
