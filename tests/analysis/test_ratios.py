"""The ratio of two means: known values, coverage, and what is not determined."""

from __future__ import annotations

import numpy as np
import pytest

from finst.analysis.ratios import ratio_of_means
from finst.errors import FinstError


def test_the_ratio_is_that_of_the_means_and_its_interval_holds_it() -> None:
    part, whole = np.array([1.0, 2.0, 3.0, 2.5]), np.array([4.0, 4.5, 6.0, 5.0])
    ratio = ratio_of_means(part, whole)
    assert ratio.value == pytest.approx(8.5 / 19.5)
    assert ratio.low < ratio.value < ratio.high


def test_a_constant_share_is_known_exactly_however_much_the_whole_varies() -> None:
    whole = np.random.default_rng(0).uniform(1, 9, 30)
    ratio = ratio_of_means(0.25 * whole, whole)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.25, 0.25, 0.25))


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(1), 0
    for seed in range(200):
        whole = rng.normal(10, 2, 40)
        part = 0.3 * whole + rng.normal(0, 1, 40)
        ratio = ratio_of_means(part, whole, resamples=400, seed=seed)
        covered += ratio.low <= 0.3 <= ratio.high
    assert 178 <= covered <= 199


def test_what_is_not_determined_is_nan() -> None:
    nothing = ratio_of_means(np.array([1.0, 1.0]), np.array([-1.0, 1.0]))
    assert all(np.isnan(value) for value in (nothing.value, nothing.low, nothing.high))
    wide = ratio_of_means(np.array([1.0, 1.0]), np.array([-1.0, 3.0]))
    assert wide.value == 1.0
    assert np.isnan(wide.low)
    assert np.isnan(wide.high)
    single = ratio_of_means(np.array([1.0]), np.array([2.0]))
    assert single.value == 0.5
    assert np.isnan(single.low)
    with pytest.raises(FinstError):
        ratio_of_means(np.array([np.inf, 1.0]), np.array([1.0, 1.0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_whole_that_is_nothing_but_rounding_determines_no_ratio(dtype: type, scale: float) -> None:
    whole = (np.array([0.1, 0.2, -0.3]) * scale).astype(dtype)
    ratio = ratio_of_means(np.ones(3, dtype) * dtype(scale), whole)
    assert all(np.isnan(value) for value in (ratio.value, ratio.low, ratio.high))
