"""What the figures and accounts of interventions share: grids of K and dose, effects before and after, and words."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from finst.report.curves import Pen
from finst.report.figures import INK
from finst.report.wording import format_p, level_of

KINDS = {"top": "strongest heads", "random": "random heads", "layer-matched": "others in the same layers"}
"""Of sets of heads; draws of the last two are numbered."""

EFFECTS = ("n", "before", "before_low", "before_high", "after", "after_low", "after_high", "gained", "lost", "p")


def kind(summary: xr.Dataset, name: str) -> xr.Dataset:
    """All draws of a kind of sets."""
    names = summary["set"].values.tolist()
    return summary.sel(set=[one for one in names if one.rsplit(" ", 1)[0] == name])


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
    axes: Axes, x: np.ndarray, values: xr.Dataset, name: str, pen: Pen, label: str, *, filled: bool = True
) -> None:
    """Shares ``name`` (before or after) with their intervals, at the places ``x``."""
    axes.vlines(x, values[f"{name}_low"], values[f"{name}_high"], color=pen.colour, lw=1, ls=pen.line)
    face = pen.colour if filled else "white"
    axes.plot(x, values[name], color=pen.colour, marker=pen.marker, mfc=face, ms=4.5, ls="", label=label)


def share_of(at: xr.Dataset, name: str) -> str:
    """``83.3% [70.4%, 91.3%]``."""
    return f"{float(at[name]):.1%} [{float(at[f'{name}_low']):.1%}, {float(at[f'{name}_high']):.1%}]"


def shares_of(shares: xr.DataArray) -> str:
    """``83.3%, 70.4%``."""
    return ", ".join(f"{share:.1%}" for share in shares.values.tolist())


def effect_row(at: xr.Dataset) -> tuple[str, ...]:
    """Columns of ``EFFECT_COLUMNS``."""
    return (
        str(int(at["n"])),
        share_of(at, "before"),
        share_of(at, "after"),
        str(int(at["gained"])),
        str(int(at["lost"])),
        format_p(float(at["p"])),
    )


EFFECT_COLUMNS = ("n", "before", "after", "gained", "lost", "p")


def tested(summary: xr.Dataset) -> str:
    """How shares are compared."""
    return (
        "Before and after are of the same trials, spoken greedily with the same budget and scored by the same rule: "
        f"the text begins with the word. Intervals are Wilson’s ({level_of(summary)}), p is McNemar’s exact test."
    )


def tie_warning(warnings: xr.DataArray, ks: Sequence[int]) -> str:
    """What a reader must know of the sets that are reported; empty for nothing."""
    told = [f"top {k}: {text}" for k in dict.fromkeys(ks) if (text := str(warnings.sel(k=k).item()))]
    return "; ".join(told)
