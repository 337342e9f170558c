"""Ranks compared with scipy, and overlaps with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from finst.analysis.ranks import average_ranks, spearman, top_overlap
from finst.errors import FinstError

TIED = arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=9), elements=st.integers(-3, 3).map(float))


@given(values=TIED)
def test_ranks_are_scipys_with_ties_and_all(values: np.ndarray) -> None:
    np.testing.assert_array_equal(average_ranks(values), scipy.stats.rankdata(values, axis=-1))


@given(seed=st.integers(0, 2**32 - 1), entries=st.integers(3, 40), ties=st.booleans())
def test_correlations_are_scipys(seed: int, entries: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 4, entries))
    if ties:
        first, second = np.round(first), np.round(second)
        first[:, 0], second[:, 0] = 9.0, -9.0
    expected = [
        getattr(scipy.stats.spearmanr(x, y), "statistic")  # noqa: B009  (scipy's stubs lack it)
        for x, y in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(spearman(first, second), expected, atol=1e-12)


def test_order_is_all_that_counts() -> None:
    values = np.random.default_rng(0).normal(size=30)
    assert spearman(values, np.exp(values)) == pytest.approx(1)
    assert spearman(values, -(values**3)) == pytest.approx(-1)


@pytest.mark.parametrize("values", [np.ones(1), np.zeros(5), np.array([[1.0, 2.0], [3.0, 3.0]])])
def test_no_correlation_of_entries_that_are_all_equal(values: np.ndarray) -> None:
    other = np.broadcast_to(np.arange(float(values.shape[-1])), values.shape)
    for pair in ((values, other), (other, values)):
        expected = [False, True] if values.ndim > 1 else True
        np.testing.assert_array_equal(np.isnan(spearman(*pair)), expected)


def test_tops() -> None:
    first = np.array([[5.0, -9.0, 4.0], [3.0, 2.0, 1.0]])
    second = np.array([[-9.0, 5.0, 4.0], [1.0, 3.0, 0.0]])
    assert [top_overlap(first, second, count) for count in (1, 2, 3, 6)] == [0, 1, 1, 6]
    assert top_overlap(first, first, 3) == 3


def test_of_equal_entries_the_earlier_one_is_higher() -> None:
    assert top_overlap(np.zeros(4), np.array([1.0, 2.0, 0.0, 0.0]), 2) == 2


@pytest.mark.parametrize("count", [0, 5])
def test_a_top_has_to_fit_the_map(count: int) -> None:
    with pytest.raises(FinstError, match=f"has a top of 1 to 4, not of {count}"):
        top_overlap(np.zeros(4), np.zeros(4), count)
