"""Intervals and McNemar's test compared with scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from finst.analysis.proportions import above_share, clopper_pearson, fewest_gains, fisher, mcnemar, wilson
from finst.errors import FinstError


@given(trials=st.integers(1, 2000), share=st.floats(0, 1), confidence=st.sampled_from([0.5, 0.95, 0.999]))
def test_intervals_are_scipys(trials: int, share: float, confidence: float) -> None:
    successes = round(share * trials)
    test = scipy.stats.binomtest(successes, trials)
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        result = test.proportion_ci(confidence, method=method)
        assert ours(successes, trials, confidence) == pytest.approx((result.low, result.high), abs=1e-9)


@given(gained=st.integers(0, 60), lost=st.integers(0, 60), same=st.integers(1, 9))
def test_mcnemar_is_statsmodels(gained: int, lost: int, same: int) -> None:
    before = np.array([False] * gained + [True] * lost + [True] * same)
    after = np.array([True] * gained + [False] * lost + [True] * same)
    result = mcnemar(before, after)
    expected = statsmodels_mcnemar([[same, lost], [gained, 0]], exact=True)
    assert result.p == pytest.approx(getattr(expected, "pvalue"), abs=1e-12)  # noqa: B009  (no stubs)
    assert (result.gained, result.lost) == (gained, lost)
    assert result.difference == pytest.approx(after.mean() - before.mean())


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 4), (5, 4)])
def test_what_is_no_proportion_is_refused(successes: int, trials: int) -> None:
    for interval in (wilson, clopper_pearson):
        with pytest.raises(FinstError, match=f"{successes} of {trials} is no proportion"):
            interval(successes, trials)


def test_no_trials_give_no_numbers() -> None:
    none = np.zeros(0, dtype=bool)
    result = mcnemar(none, none)
    assert (result.gained, result.lost) == (0, 0)
    assert np.isnan([result.difference, result.p, *wilson(0, 0), *clopper_pearson(0, 0)]).all()


def test_a_level_of_one_is_refused() -> None:
    with pytest.raises(FinstError, match="between 0 and 1, not 1"):
        wilson(1, 2, 1.0)


@pytest.mark.parametrize(("alpha", "fewest"), [(0.5, 2), (0.05, 6), (0.03125, 6), (0.01, 8)])
def test_the_fewest_gains_are_where_mcnemar_turns(alpha: float, fewest: int) -> None:
    assert fewest_gains(alpha) == fewest
    p = [mcnemar(np.zeros(10, dtype=bool), np.arange(10) < gains).p for gains in (fewest - 1, fewest)]
    assert p[1] <= alpha < p[0]


def test_fewest_gains_need_an_error_rate() -> None:
    with pytest.raises(FinstError, match=r"alpha is 0\.0: expected an error rate between 0 and 1"):
        fewest_gains(0.0)


@given(trials=st.integers(1, 200), share=st.floats(0, 1), chance=st.floats(0.01, 0.99))
def test_a_share_above_chance_has_scipys_p(trials: int, share: float, chance: float) -> None:
    successes = round(share * trials)
    expected = scipy.stats.binomtest(successes, trials, chance, alternative="greater").pvalue
    assert above_share(successes, trials, chance) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(first=st.integers(0, 30), second=st.integers(0, 30), trials=st.tuples(st.integers(30, 60), st.integers(30, 60)))
def test_two_shares_have_scipys_fisher_p(first: int, second: int, trials: tuple[int, int]) -> None:
    table = [[first, trials[0] - first], [second, trials[1] - second]]
    assert fisher(first, second, *trials) == pytest.approx(scipy.stats.fisher_exact(table)[1], rel=1e-6)


def test_a_share_of_none_or_all_is_certain() -> None:
    assert (above_share(0, 5, 0.0), above_share(1, 5, 0.0), above_share(5, 5, 1.0)) == (1.0, 0.0, 1.0)
    with pytest.raises(FinstError, match="between 0 and 1"):
        above_share(1, 5, 1.5)
