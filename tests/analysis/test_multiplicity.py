"""False discovery rates compared with scipy and statsmodels, and their calibration."""

from __future__ import annotations

import numpy as np
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from statsmodels.stats.multitest import multipletests

from finst.analysis.multiplicity import bh_fdr


@given(p=arrays(np.float64, array_shapes(min_dims=1, max_dims=2, max_side=9), elements=st.floats(0, 1)))
def test_adjusted_p_values_are_scipys_and_statsmodels(p: np.ndarray) -> None:
    result = bh_fdr(p)
    np.testing.assert_allclose(result.ravel(), scipy.stats.false_discovery_control(p.ravel()), atol=1e-12)
    np.testing.assert_allclose(result.ravel(), np.asarray(multipletests(p.ravel(), method="fdr_bh")[1]), atol=1e-12)


def test_no_more_than_the_stated_share_of_discoveries_is_false() -> None:
    rng = np.random.default_rng(0)
    false = []
    for _ in range(300):
        z = rng.normal(size=200)
        z[:20] += 3
        result = bh_fdr(scipy.stats.norm.sf(z)) < 0.1
        false.append(result[20:].sum() / max(1, result.sum()))
    assert 0.07 < np.mean(false) < 0.11
