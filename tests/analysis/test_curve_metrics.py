"""Numbers that describe a curve or a map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finst.analysis import curve_metrics as bends


def test_the_first_third_is_rounded_up():
    assert bends.early(np.array([1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 70.0])) == 2.0
    assert bends.early(np.array([5.0, 9.0])) == 5.0


@pytest.mark.parametrize(
    ("curve", "depth"),
    [
        ([0.1, 0.3, 0.9, 0.4], 0.0),
        ([0.7, 0.4, 0.2, 0.8], 0.5),
        ([0.7, 0.6, 0.65, 0.1, 0.3], 0.2),
        ([3.0, 2.0, 1.0], 0.0),
        ([0.5], 0.0),
    ],
)
def test_a_valley_has_two_higher_sides(curve: list[float], depth: float):
    assert bends.valley(np.array(curve)) == pytest.approx(depth)


def test_ties_of_a_map_that_went_through_bfloat16():
    """Scores as differences of logits near 16, whose bfloat16 grid is 0.125: counted by hand on that grid."""
    rng = np.random.default_rng(0)
    exact = rng.normal(0, 0.1, (16, 8))
    logits = torch.from_numpy(16.5 + exact).bfloat16().double().numpy()
    scores = logits - 16.5
    steps = np.rint(scores / 0.125).astype(int)
    assert np.array_equal(steps * 0.125, scores)
    counts = {value: int((steps == value).sum()) for value in np.unique(steps)}
    assert bends.distinct(scores) == len(counts) < 8
    assert bends.step(scores) == 0.125
    k, above = 20, 0
    for value in sorted(counts, reverse=True):
        if above + counts[value] >= k:
            assert bends.exact_ties(scores, k) == (counts[value], k - above)
            assert counts[value] > 20
            break
        above += counts[value]
    assert bends.distinct(exact) == exact.size
    assert bends.exact_ties(exact, k) == (1, 1)


def test_mass_is_where_positive_scores_are():
    scores = np.array([[1.0, -9.0], [0.0, 0.0], [2.0, 1.0]])
    assert bends.mass_by_layer(scores).tolist() == [0.25, 0.0, 0.75]
    assert bends.mean_layer(scores) == 1.5
    assert np.isnan(bends.mean_layer(-abs(scores)))


def test_maps_are_alike_whatever_their_scale():
    scores = np.random.default_rng(0).normal(size=(3, 4))
    assert bends.likeness(scores, 5 * scores + 1) == pytest.approx(1)
    assert bends.likeness(scores, -scores) == pytest.approx(-1)
    assert np.isnan(bends.likeness(scores, np.zeros((3, 4))))
