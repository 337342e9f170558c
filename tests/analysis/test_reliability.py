"""Split-half reliability on maps whose reliability is known."""

from __future__ import annotations

import numpy as np
import pytest

from finst.analysis.reliability import split_half
from finst.errors import FinstError


def maps(noise: float, samples: int = 40, seed: int = 0) -> np.ndarray:
    """Scores whose true map has variance one over entries."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(40, 25)) + noise * rng.normal(size=(samples, 40, 25))


@pytest.mark.parametrize("noise", [1.0, 6.0, 20.0])
def test_reliability_is_the_share_of_true_variance_in_the_mean_map(noise: float) -> None:
    result = split_half(maps(noise))
    assert result.reliability == pytest.approx(1 / (1 + noise**2 / 40), abs=0.05)
    assert result.low <= result.reliability <= result.high
    assert result.r < result.reliability


def test_halves_are_correlated_as_numpy_does() -> None:
    """Of four samples there are three pairs of halves; the mean over many draws is that of the three."""
    scores = maps(5.0, samples=4)
    pairs = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    three = [
        np.corrcoef(scores[list(one)].mean(axis=0).ravel(), scores[list(other)].mean(axis=0).ravel())[0, 1]
        for one, other in pairs
    ]
    result = split_half(scores, halves=3000)
    assert result.r == pytest.approx(np.mean(three), abs=0.02)
    assert result.low == pytest.approx(2 * min(three) / (1 + abs(min(three))))


def test_noise_is_not_reliable() -> None:
    assert abs(split_half(np.random.default_rng(0).normal(size=(51, 60, 60))).reliability) < 0.1


def test_order_of_samples_does_not_matter() -> None:
    scores = maps(3.0, samples=9)
    assert split_half(scores) == split_half(scores[::-1].copy())


@pytest.mark.parametrize("scores", [np.ones((3, 2, 2)), np.ones((8, 2, 2)), np.ones((8, 1))])
def test_without_halves_or_differences_there_is_no_number(scores: np.ndarray) -> None:
    assert np.isnan(split_half(scores).reliability)


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(FinstError, match="1 of 8 are not"):
        split_half(np.array([[1.0, 2.0], [np.nan, 1.0], [1.0, 3.0], [0.0, 0.0]]))
