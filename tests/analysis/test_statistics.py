"""Statistics compared with scipy and with explicit enumeration, and their calibration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from finst.analysis import statistics
from finst.errors import FinstError

MAPS = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=7),
    elements=st.floats(-8, 8, width=16, allow_subnormal=False),
)


def planted(n: int, shape: tuple[int, ...], effect: float, where: tuple[int, ...], seed: int = 0) -> np.ndarray:
    scores = np.random.default_rng(seed).normal(size=(n, *shape))
    scores[(slice(None), *where)] += effect
    return scores


def students_t(scores: np.ndarray) -> np.ndarray:
    return np.asarray(getattr(scipy.stats.ttest_1samp(scores, 0), "statistic"))  # noqa: B009  (scipy's stubs lack it)


def test_mean_and_standard_error_are_those_of_scipy():
    scores = planted(20, (3, 4), 1.0, (0, 0))
    np.testing.assert_allclose(statistics.mean(scores), scores.mean(0))
    np.testing.assert_allclose(statistics.standard_error(scores), scipy.stats.sem(scores))


def test_t_is_students():
    scores = planted(20, (3, 4), 1.0, (0, 0))
    np.testing.assert_allclose(statistics.sign_flip(scores).t, students_t(scores))


def test_few_samples_are_enumerated_as_scipy_does():
    scores = planted(9, (5,), 0.6, (2,))
    ours = statistics.sign_flip(scores)
    theirs = scipy.stats.permutation_test(
        (scores,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=1000, axis=0
    )
    assert ours.exact
    assert ours.permutations == 2**8
    np.testing.assert_allclose(ours.p, theirs.pvalue)


def test_drawn_patterns_agree_with_scipys_within_monte_carlo_error():
    scores = planted(40, (4,), 0.3, (1,))
    ours = statistics.sign_flip(scores, permutations=20_000)
    theirs = scipy.stats.permutation_test(
        (scores,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        axis=0,
        rng=np.random.default_rng(1),
    )
    assert not ours.exact
    np.testing.assert_allclose(ours.p, theirs.pvalue, atol=0.015)


def test_family_wise_p_is_that_of_the_largest_t_by_hand():
    scores = planted(6, (2, 3), 1.0, (1, 2))
    observed = abs(students_t(scores))
    largest = np.array(
        [
            abs(students_t(np.array(signs)[:, None, None] * scores)).max()
            for signs in itertools.product((-1, 1), repeat=6)
        ]
    )
    expected = (largest[:, None, None] >= observed - 1e-9).mean(0)
    np.testing.assert_allclose(statistics.sign_flip(scores).p_fwer, expected)


def test_bootstrap_interval_agrees_with_scipys():
    scores = planted(50, (3,), 1.0, (0,))
    low, high = statistics.bootstrap_ci(scores, resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (scores,), np.mean, axis=0, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(low, theirs.low, atol=0.02)
    np.testing.assert_allclose(high, theirs.high, atol=0.02)


def test_bootstrap_intervals_cover_the_mean_about_as_often_as_they_say():
    scores = np.random.default_rng(3).normal(1.0, 1.0, size=(40, 2000))
    low, high = statistics.bootstrap_ci(scores)
    assert 0.91 < np.mean((low <= 1) & (high >= 1)) < 0.97


def test_family_wise_error_is_held_on_null_maps():
    """One false alarm in twenty maps, also when the entries depend on each other and their scales differ."""
    rng = np.random.default_rng(5)
    alarms = []
    for run in range(600):
        shared = rng.normal(size=(16, 1))
        scores = (rng.normal(size=(16, 40)) + shared) * np.logspace(-3, 3, 40)
        alarms.append((statistics.sign_flip(scores, permutations=400, seed=run).p_fwer < 0.05).any())
    assert 0.03 < np.mean(alarms) < 0.07


def test_p_values_of_random_maps_are_uniform():
    p = [
        statistics.sign_flip(np.random.default_rng(seed).normal(size=(14, 3)), permutations=500, seed=seed).p[1]
        for seed in range(300)
    ]
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01


def test_planted_effects_are_found_and_nothing_else():
    result = [
        np.argwhere(statistics.sign_flip(planted(50, (10, 8), 1.0, (4, 6), seed), permutations=1000).p_fwer < 0.05)
        for seed in range(40)
    ]
    assert all([4, 6] in heads.tolist() for heads in result)
    assert sum(len(heads) > 1 for heads in result) <= 5


def test_numerical_noise_is_never_significant_however_regular():
    scores = planted(20, (3,), 2.0, (0,))
    scores[:, 1] = 1e-6
    scores[:, 2] = 0.0
    test = statistics.sign_flip(scores, noise=1e-5)
    assert test.t[1:].tolist() == [0, 0]
    assert test.p[1:].tolist() == test.p_fwer[1:].tolist() == [1, 1]
    assert test.p_fwer[0] < 0.05


def test_equal_scores_have_infinite_t_and_the_smallest_p():
    test = statistics.sign_flip(np.array([[2.0, -2.0]] * 5))
    assert test.t.tolist() == [np.inf, -np.inf]
    assert test.p.tolist() == [1 / 16, 1 / 16]


def test_memory_is_bounded_by_chunks_without_changing_a_number(monkeypatch: pytest.MonkeyPatch):
    scores = planted(30, (7, 5), 0.5, (0, 0))
    whole = statistics.sign_flip(scores, permutations=500), statistics.bootstrap_ci(scores, resamples=100)
    monkeypatch.setattr(statistics, "_CHUNK_BYTES", 4096)
    parts = statistics.sign_flip(scores, permutations=500), statistics.bootstrap_ci(scores, resamples=100)
    np.testing.assert_array_equal(whole[0].p, parts[0].p)
    np.testing.assert_array_equal(whole[0].p_fwer, parts[0].p_fwer)
    np.testing.assert_allclose(whole[1], parts[1])


@pytest.mark.parametrize("permutations", [10_000, 20])
@given(scores=MAPS, data=st.data())
def test_order_of_samples_and_overall_sign_do_not_matter(permutations: int, scores: np.ndarray, data: st.DataObject):
    test = statistics.sign_flip(scores, permutations=permutations)
    order = data.draw(st.permutations(range(len(scores))))
    for other in (scores[order], -scores):
        again = statistics.sign_flip(other, permutations=permutations)
        np.testing.assert_array_equal(test.p, again.p)
        np.testing.assert_array_equal(test.p_fwer, again.p_fwer)
    np.testing.assert_allclose(
        statistics.bootstrap_ci(scores, resamples=50),
        statistics.bootstrap_ci(scores[order], resamples=50),
        atol=1e-12,
    )


@given(scores=MAPS)
def test_p_values_are_probabilities_and_family_wise_ones_are_no_smaller(scores: np.ndarray):
    test = statistics.sign_flip(scores, permutations=100)
    assert ((test.p > 0) & (test.p <= test.p_fwer) & (test.p_fwer <= 1)).all()


@given(scores=MAPS)
def test_interval_ends_are_ordered_and_within_the_data(scores: np.ndarray):
    low, high = statistics.bootstrap_ci(scores, resamples=50)
    assert (low <= high).all()
    assert (low >= scores.min(0) - 1e-9).all()
    assert (high <= scores.max(0) + 1e-9).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.sign_flip(np.zeros((3, 2)), permutations=0), "at least 1 permutation"),
        (lambda: statistics.mean(np.array([1.0, np.nan])), "1 of 2 are not"),
        (lambda: statistics.bootstrap_ci(np.zeros((3, 2)), confidence=1.0), "between 0 and 1"),
    ],
)
def test_bad_input_is_refused_with_a_reason(call, message: str):
    with pytest.raises(FinstError, match=message):
        call()


@pytest.mark.parametrize("samples", [0, 1])
def test_too_few_samples_give_no_numbers(samples: int):
    scores = np.ones((samples, 2))
    test = statistics.sign_flip(scores)
    unknown = [test.t, test.p, test.p_fwer, statistics.standard_error(scores), *statistics.bootstrap_ci(scores)]
    assert np.isnan([*unknown, *statistics.resampled_means(scores, resamples=3)]).all()
    assert np.isnan(statistics.mean(scores)).all() == (samples == 0)


def test_the_interval_is_made_of_the_quantiles_of_the_resampled_means():
    scores = np.random.default_rng(3).normal(1, 2, (15, 2, 3))
    means = statistics.resampled_means(scores, resamples=300, seed=5)
    expected = np.quantile(means, statistics.tails(0.9), axis=0)
    result = statistics.bootstrap_ci(scores, confidence=0.9, resamples=300, seed=5)
    np.testing.assert_allclose(result, expected)
    np.testing.assert_allclose(means, statistics.resampled_means(scores[::-1], resamples=300, seed=5))
