"""What the figures of interventions share: kinds of head sets, shares with intervals, grids of K and dose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from finst.report.curves import Pen
from finst.report.figures import FAINT, INK

KINDS = {"top": "strongest heads", "random": "random heads", "layer-matched": "others in the same layers"}
"""Kinds of head sets. The draws of the last two are numbered: ``random 0``."""

SHARES = (-0.03, 1.03)
"""Limits of an axis of shares."""


def draws_of(effects: xr.Dataset | xr.DataArray, kind: str) -> list[str]:
    """The names of all sets of a kind."""
    return [name for name in effects["set"].values.tolist() if name.rsplit(" ", 1)[0] == kind]


def heat(axes: Axes, shares: xr.DataArray, outlined: Mapping[str, float] | None = None) -> None:
    """Shares (dims k, dose) as shades with their percentages; dark is much. ``outlined`` is a cell's k and dose."""
    grid = shares.transpose("k", "dose").values
    axes.imshow(grid, cmap="Greys", vmin=0, vmax=1.25, aspect="auto", origin="lower")
    for row, line in enumerate(grid):
        for column, value in enumerate(line):
            shade = "white" if value > 0.7 else INK
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=6.5, color=shade)
    axes.set_xticks(range(grid.shape[1]), [f"{dose:g}" for dose in shares["dose"].values])
    axes.set_yticks(range(grid.shape[0]), [f"{k:g}" for k in shares["k"].values])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if outlined is not None:
        column, row = (int(np.flatnonzero(shares[dim].values == outlined[dim])[0]) for dim in ("dose", "k"))
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec="#D55E00", lw=1.8, zorder=3))


def points(
    axes: Axes,
    x: np.ndarray,
    effects: xr.Dataset,
    name: str,
    pen: Pen,
    label: str,
    *,
    filled: bool = True,
    line: bool = False,
) -> None:
    """The shares ``name`` (before or after) with their intervals, at the places ``x``, joined by a ``line`` or not."""
    axes.vlines(x, effects[f"{name}_low"], effects[f"{name}_high"], color=pen.colour, lw=1, ls=pen.line)
    face = pen.colour if filled else "white"
    axes.plot(x, effects[name], color=pen.colour, marker=pen.marker, mfc=face, ms=4.5, ls="", label=label)
    if line:
        axes.plot(x, effects[name], color=pen.colour, ls=pen.line, lw=1)


def over_ks(axes: Axes, ks: Sequence[int], chosen: int | None = None) -> np.ndarray:
    """Ticks at 0 (no edit) and at 1, 2, ... for each of ``ks``, a mark at the chosen one; the places but 0."""
    axes.set_xticks(range(len(ks) + 1), ["0", *map(str, ks)])
    axes.set(xlabel="K", ylim=SHARES)
    if chosen is not None:
        axes.axvline(1 + ks.index(chosen), color=FAINT, lw=0.8, ls=":", zorder=0)
    return np.arange(1, len(ks) + 1)
