"""What is said of a correlation over layers agrees with its numbers."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from finst.experiments.representations.report.peaks import IGNORABLE_R, SAME_R, peak_of

LAYERS = 3

VALUES = st.lists(st.floats(-1, 1), min_size=LAYERS, max_size=LAYERS)


def curve(r: list[float], half: float, p: list[float], permutations: int = 999) -> xr.Dataset:
    values = {"r": r, "ci_low": np.array(r) - half, "ci_high": np.array(r) + half, "p_fwer": p}
    return xr.Dataset(
        {name: ("layer", data) for name, data in values.items()},
        coords={"layer": range(LAYERS)},
        attrs={"alpha": 0.05, "permutations": permutations},
    )


@given(r=VALUES, half=st.floats(0, 1), p=st.lists(st.floats(0, 1), min_size=LAYERS, max_size=LAYERS))
def test_statuses_and_peaks_agree_with_the_numbers(r: list[float], half: float, p: list[float]) -> None:
    peak = peak_of(curve(r, half, p), n=40)
    significant = [layer for layer in range(LAYERS) if p[layer] < 0.05]
    assert list(peak.significant) == significant
    assert r[peak.layer] > max(r) - SAME_R
    assert all(r[layer] <= max(r) - SAME_R for layer in range(peak.layer))
    found = any(r[layer] - half > 0 for layer in significant)
    expected = "found" if found else "not found" if max(r) + half <= IGNORABLE_R else "undecided"
    assert peak.evidence.status == expected
    assert peak.verdict.startswith(expected)
    assert "against shuffled labels" in peak.verdict


@pytest.mark.parametrize("permutations", [1, 8, 19])
def test_too_few_permutations_are_not_testable(permutations: int) -> None:
    least = 1 / (permutations + 1)
    peak = peak_of(curve([0.9, 0.9, 0.9], 0.05, [least] * 3, permutations), n=40)
    assert peak.evidence.status == "not testable"
    assert "no p can be below" in peak.verdict
    assert ("1 permutation " in peak.verdict) == (permutations == 1)
