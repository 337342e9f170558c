"""Permutation tests of labels compared with scipy, and their calibration."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from finst.analysis import labels
from finst.analysis.labels import label_permutation
from finst.errors import FinstError


def test_the_share_between_labels_is_that_of_scipys_f() -> None:
    rng = np.random.default_rng(0)
    scores, names = rng.normal(size=(30, 4, 2)), rng.integers(0, 3, 30)
    result = label_permutation(scores, names, permutations=10)
    f = scipy.stats.f_oneway(*(scores[names == name] for name in range(3))).statistic
    np.testing.assert_allclose(result.explained, 2 * f / (2 * f + 27))


def test_p_agrees_with_scipys_within_monte_carlo_error() -> None:
    rng = np.random.default_rng(0)
    scores, names = rng.normal(size=(24, 3)), np.resize([0, 1], 24)
    scores[names == 1, 1] += 0.8

    def difference(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        return abs(first.mean(axis=axis) - second.mean(axis=axis))

    expected = scipy.stats.permutation_test(
        (scores[names == 0], scores[names == 1]),
        difference,
        alternative="greater",
        n_resamples=5000,
        rng=np.random.default_rng(1),
    )
    np.testing.assert_allclose(label_permutation(scores, names, permutations=5000).p, expected.pvalue, atol=0.025)


def test_p_values_are_uniform_and_the_largest_share_holds_the_family_wise_error() -> None:
    p, alarms = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        scores = (rng.normal(size=(20, 12)) + rng.normal(size=(20, 1))) * np.logspace(-3, 3, 12)
        result = label_permutation(scores, np.resize(["a", "b", "c"], 20), permutations=199, seed=seed)
        p.append(result.p[0])
        alarms.append((result.p_fwer <= 0.05).any())
        assert (result.p <= result.p_fwer).all()
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(alarms) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def test_a_planted_label_is_found_where_it_is() -> None:
    rng = np.random.default_rng(0)
    scores, names = rng.normal(size=(60, 5, 4)), np.resize([0, 1, 2], 60)
    scores[:, 3, 1] += 2 * names
    scores[:, 0, 0] = 7.0
    result = label_permutation(scores, names, permutations=500)
    assert np.argwhere(result.p_fwer < 0.05).tolist() == [[3, 1]]
    assert np.isnan([result.explained[0, 0], result.p[0, 0], result.p_fwer[0, 0]]).all()


def test_memory_is_bounded_by_chunks_without_changing_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores, names = rng.normal(size=(20, 7)), np.resize([0, 1], 20)
    whole = label_permutation(scores, names, permutations=100)
    monkeypatch.setattr(labels, "_CHUNK_BYTES", 1024)
    parts = label_permutation(scores, names, permutations=100)
    np.testing.assert_array_equal(whole.p_fwer, parts.p_fwer)


def test_a_single_label_tests_nothing() -> None:
    result = label_permutation(np.random.default_rng(0).normal(size=(3, 2)), np.ones(3))
    assert np.isnan([result.explained, result.p, result.p_fwer]).all()


def test_entries_that_are_the_same_in_all_samples_do_not_change_the_others() -> None:
    scores, names = np.random.default_rng(0).normal(size=(20, 3)), np.resize([0, 1], 20)
    alone = label_permutation(scores[:, [0, 2]], names, permutations=99)
    scores[:, 1] = 0.1
    result = label_permutation(scores, names, permutations=99)
    np.testing.assert_array_equal(result.p_fwer[[0, 2]], alone.p_fwer)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(FinstError, match="1 of 6 are not"):
        label_permutation(np.array([[1.0, 2.0], [np.nan, 1.0], [1.0, 3.0]]), np.arange(3))
