"""How far a map of causal mediation can be trusted as a whole: reliability, discoveries, and ties at the top."""

# ruff: noqa: RUF001  (typeset text: dashes as readers expect them)
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.report.wording import listed, number


@dataclass(frozen=True)
class Trust:
    """Of one stage's map, for a row of a table."""

    above: int
    """Heads above the noise."""
    discoveries: int
    """Heads with a positive mean that are found at a false discovery rate of alpha."""
    reliability: str
    """Split-half, of the mean map, with its interval."""
    ties: str
    """Top sets whose cut runs through heads that cannot be told apart, or that there are none."""


def trust_of(summary: xr.Dataset, stage: str) -> Trust:
    """From the summary's ``reliability``, ``p_fdr`` and ``cut_tied``."""
    part = summary.sel(condition=stage)
    value, low, high = (float(part[f"reliability{end}"]) for end in ("", "_low", "_high"))
    found = (part["p_fdr"] < summary.attrs["alpha"]) & (part["mean"] > part["noise_floor"])
    return Trust(
        above=int(part["above"].sum()),
        discoveries=int(found.sum()),
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
