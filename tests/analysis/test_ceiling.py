"""The noise ceiling bounds the correlation with the best target."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from finst.analysis import rsa
from finst.analysis.rsm import cosine_rsm, entries
from tests.analysis.plain import coding, design


def test_the_ceiling_bounds_the_best_target() -> None:
    """Upper: the means of cosines by pair of cells, as a target. Lower: their correlation in other trials."""
    cells, targets = design(300)
    conditions = cells @ [3, 1]
    activations = np.stack([coding(cells, strength) for strength in (0.0, 0.5, 3.0)])
    result = rsa.rsa(activations, targets, permutations=1, resamples=1, conditions=conditions)
    assert (result.ceiling_low < result.ceiling_high).all()
    assert (result.r[:, 0] < result.ceiling_high).all()
    assert abs(result.ceiling_low[0]) < 0.05 < result.ceiling_low[1] < result.ceiling_low[2]
    cosines = entries(cosine_rsm(activations[1]))
    first, second = np.sort([conditions[index] for index in np.triu_indices(300, 1)], axis=0)
    _, kind = np.unique(first * 9 + second, return_inverse=True)
    best = (np.bincount(kind, cosines) / np.bincount(kind))[kind]
    assert result.ceiling_high[1] == pytest.approx(scipy.stats.pearsonr(cosines, best)[0], abs=1e-12)
