"""The reliability of a map as a whole, on synthetic summaries."""

from __future__ import annotations

import numpy as np
import xarray as xr

from finst.experiments.cma.reliability import map_reliability


def summary(tied: list[int], inside: list[int], n: int = 9) -> xr.Dataset:
    p = np.array([[0.001, 0.02], [0.04, 0.5]])
    return xr.Dataset(
        {
            "n": ("condition", [n]),
            "above": (("condition", "layer", "head"), p[None] < 0.01),
            "p_fdr": (("condition", "layer", "head"), p[None]),
            "mean": (("condition", "layer", "head"), [[[1.0, 0.5], [-0.5, 0.1]]]),
            "noise_floor": ((), 1e-6),
            "reliability": ("condition", [0.91234]),
            "reliability_low": ("condition", [0.8]),
            "reliability_high": ("condition", [0.95]),
            "cut_tied": (("condition", "cut"), [tied]),
            "cut_inside": (("condition", "cut"), [inside]),
        },
        coords={"condition": ["id_selection"], "cut": [2, 3]},
        attrs={"alpha": 0.05},
    )


def test_discoveries_have_a_positive_mean():
    row = map_reliability(summary([1, 1], [1, 1]), "id_selection")
    assert (row.above, row.discoveries) == (1, 2)
    assert row.reliability == "0.912 [0.800, 0.950]"


def test_ties_are_those_that_a_cut_divides():
    assert map_reliability(summary([1, 2], [1, 2]), "id_selection").ties == "none (top 2 and 3)"
    assert map_reliability(summary([4, 2], [1, 2]), "id_selection").ties == "top 2: 1 of 4 tied heads"


def test_without_pairs_there_are_no_ties():
    assert map_reliability(summary([0, 0], [0, 0], n=0), "id_selection").ties == "–"  # noqa: RUF001
