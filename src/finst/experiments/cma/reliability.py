"""How reliable a map of causal mediation is as a whole: split-half reliability, discoveries, ties at the top."""

# ruff: noqa: RUF001  (typeset text: dashes as readers expect them)
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.report.wording import listed, number


@dataclass(frozen=True)
class MapReliability:
    """The reliability of one stage's map, for a row of a table."""

    above: int
    """Heads above the noise."""
    discoveries: int
    """Heads with a positive mean that are discovered at a false discovery rate of alpha."""
    reliability: str
    """Split-half reliability of the mean map, with its interval."""
    ties: str
    """The top sets whose cut divides tied heads, or that there are none."""


def map_reliability(summary: xr.Dataset, stage: str) -> MapReliability:
    """The reliability of a stage's map, from the summary's ``reliability``, ``p_fdr`` and ``cut_tied``."""
    part = summary.sel(condition=stage)
    value, low, high = (float(part[f"reliability{end}"]) for end in ("", "_low", "_high"))
    discovered = (part["p_fdr"] < summary.attrs["alpha"]) & (part["mean"] > part["noise_floor"])
    return MapReliability(
        above=int(part["above"].sum()),
        discoveries=int(discovered.sum()),
        reliability="–" if np.isnan(value) else f"{number(value)} [{number(low)}, {number(high)}]",
        ties=_ties(part),
    )


def _ties(part: xr.Dataset) -> str:
    if int(part["n"]) < 1:
        return "–"
    cut = [part["cut"].values, part["cut_inside"].values, part["cut_tied"].values]
    split = [
        f"top {size}: {inside} of {tied} tied heads" for size, inside, tied in zip(*cut, strict=True) if tied > inside
    ]
    if split:
        return listed(split)
    return f"none (top {listed(str(size) for size in cut[0])})" if len(cut[0]) else "none"
