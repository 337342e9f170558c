"""A status agrees with the numbers that it rests on, whatever they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finst.analysis.statistics import sign_flip
from finst.report.status import CLASSES, Evidence, sign_flip_limit

ENDS = st.floats(-5, 5) | st.just(math.nan)


@given(
    n=st.integers(0, 40),
    ends=st.tuples(ENDS, ENDS),
    p=st.floats(0, 1) | st.just(math.nan),
    least_p=st.floats(0, 1),
    alpha=st.sampled_from([0.001, 0.05, 0.5]),
    ignorable=st.sampled_from([0.0, 0.5, math.nan]),
)
def test_statuses_agree_with_n_interval_and_p(
    n: int, ends: tuple[float, float], p: float, least_p: float, alpha: float, ignorable: float
) -> None:
    low, high = sorted(ends) if not any(map(math.isnan, ends)) else ends
    status = Evidence(n, low, high, p, least_p, alpha, ignorable).status
    assert status in CLASSES
    assert (status == "not testable") == (n < 2 or least_p >= alpha or math.isnan(p))
    if status == "found":
        assert p < alpha
        assert low > 0
    if status == "not found":
        assert high <= ignorable
    if status == "undecided":
        assert p >= alpha or not low > 0
        assert not high <= ignorable


@pytest.mark.parametrize(("n", "status"), [(1, "not testable"), (5, "not testable"), (6, "undecided")])
def test_what_could_not_be_significant_is_not_testable(n: int, status: str) -> None:
    assert Evidence(n, -0.1, 0.4, 0.2, sign_flip_limit(max(n, 1), 10_000), 0.05).status == status


def test_only_what_was_not_found_is_red() -> None:
    assert {status for status, style in CLASSES.items() if style == "no"} == {"not found"}


@given(n=st.integers(2, 9), permutations=st.sampled_from([1, 7, 16, 200]))
def test_the_limit_is_the_smallest_p_of_the_test(n: int, permutations: int) -> None:
    """Scores that are all alike are as extreme as data can be; random patterns may repeat the data."""
    test = sign_flip(np.ones(n), permutations=permutations)
    assert test.exact == (2 ** (n - 1) <= permutations)
    limit = sign_flip_limit(n, permutations)
    assert float(test.p) == pytest.approx(limit) if test.exact else float(test.p) >= limit
