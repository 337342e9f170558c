"""Curves over layers that differ in colour, marker and dashes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from finst.report.figures import FAINT, ticks


@dataclass(frozen=True)
class Pen:
    """The style of a curve, legible in colour and in black and white."""

    colour: str
    marker: str
    dashes: tuple[float, ...] = ()
    """Lengths on and off in points; empty for a solid line."""

    @property
    def line(self) -> object:
        """The line style for matplotlib."""
        return (0, self.dashes) if self.dashes else "-"


BLUE = Pen("#0072B2", "o")
ORANGE = Pen("#D55E00", "s", (5, 1.5))
GREEN = Pen("#009E73", "^", (1.2, 1.2))
PURPLE = Pen("#AA4499", "D", (6, 1.5, 1, 1.5))
AMBER = Pen("#E69F00", "v", (3, 1))
PENS = (BLUE, ORANGE, GREEN, PURPLE)
"""Okabe and Ito's colours (and Tol's purple), distinct in all common forms of colour blindness."""


def curve(
    axes: Axes,
    values: xr.DataArray,
    pen: Pen,
    label: str,
    *,
    low: xr.DataArray | None = None,
    high: xr.DataArray | None = None,
    solid: xr.DataArray | None = None,
) -> None:
    """Draws ``values`` (dim layer) with a band from ``low`` to ``high``; hollow markers where ``solid`` is false."""
    layers = values["layer"].values
    if low is not None and high is not None:
        axes.fill_between(layers, low, high, color=pen.colour, alpha=0.2, lw=0)
    axes.plot(layers, values, color=pen.colour, ls=pen.line, lw=1.4, zorder=2.5)
    filled = np.ones(len(layers), dtype=bool) if solid is None else np.asarray(solid.values, dtype=bool)
    size = float(np.clip(110 / len(layers), 2.2, 4.2))
    marks = {"color": pen.colour, "marker": pen.marker, "ms": size, "ls": "", "mew": 0.9, "zorder": 3}
    axes.plot(layers[filled], values.values[filled], **marks)
    axes.plot(layers[~filled], values.values[~filled], mfc="white", **marks)
    axes.plot([], [], color=pen.colour, ls=pen.line, lw=1.4, marker=pen.marker, ms=4, label=label)


def over_layers(axes: Axes, layers: int, *, zero: bool = True) -> None:
    """Labels the x axis with layers, and draws a line at zero."""
    if zero:
        axes.axhline(0, color=FAINT, lw=0.8, zorder=1)
    axes.set_xticks(ticks(layers, 14))
    axes.set_xlabel("layer")
    axes.margins(x=0.03)


def above(axes: Axes, columns: int) -> None:
    """Puts the legend above the axes, where it covers no curve."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        handlelength=2.6,
        columnspacing=1.4,
        borderpad=0.2,
    )
