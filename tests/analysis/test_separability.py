"""Probes and silhouettes against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import silhouette_score
from sklearn.model_selection import PredefinedSplit, cross_val_score

from finst.analysis import separability
from finst.analysis.separability import probe, silhouette
from finst.errors import FinstError


def blobs(distance: float, trials: int = 90, features: int = 6, labels: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    names = rng.permutation(np.resize(np.array(["red", "green", "blue"])[:labels], trials))
    _, index = np.unique(names, return_inverse=True)
    points = rng.normal(size=(trials, features)) * np.linspace(0.5, 2, features)
    points[:, 0] += distance * index  # three labels on a line, which defeats a regression on indicators
    return points, names


@pytest.mark.parametrize("shrinkage", [0.01, 0.5])
def test_accuracy_is_scikit_learns_with_the_same_folds(shrinkage: float) -> None:
    points, names = blobs(1.0)
    found = probe(points, names, shrinkage=shrinkage, seed=2)
    _, index = np.unique(names, return_inverse=True)
    folds = PredefinedSplit(separability._folds(index, 5, 2))
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=[1 / 3] * 3)
    sizes = np.bincount(separability._folds(index, 5, 2))
    assert found.accuracy == pytest.approx((cross_val_score(lda, points, names, cv=folds) * sizes).sum() / 90)
    assert found.ci_low < found.accuracy < found.ci_high
    assert found.chance == 1 / 3


def test_every_trial_is_held_out_once_and_labels_are_spread_over_folds() -> None:
    _, names = blobs(1.0)
    _, index = np.unique(names, return_inverse=True)
    fold = separability._folds(index, 5, 0)
    assert all((np.bincount(fold[index == label]) == 6).all() for label in range(3))


def test_labels_that_mean_nothing_are_not_told_and_far_apart_ones_are() -> None:
    assert probe(*blobs(20.0)).accuracy == 1
    null = [probe(*blobs(0.0, seed=seed), seed=seed) for seed in range(40)]
    assert np.mean([one.accuracy for one in null]) == pytest.approx(1 / 3, abs=0.03)


def test_more_features_than_trials_are_no_obstacle() -> None:
    points, names = blobs(12.0, trials=30, features=80)
    assert probe(points, names).accuracy > 0.8


@pytest.mark.parametrize("distance", [0.0, 2.0, 8.0])
def test_silhouettes_are_scikit_learns(distance: float) -> None:
    points, names = blobs(distance)
    assert silhouette(points, names) == pytest.approx(silhouette_score(points, names), abs=1e-10)
    names[0] = "alone"
    assert silhouette(points, names) == pytest.approx(silhouette_score(points, names), abs=1e-10)


def test_labels_that_cannot_be_told_apart_or_held_out_are_refused() -> None:
    points, names = blobs(1.0)
    for measure in (probe, silhouette):
        with pytest.raises(FinstError, match="at least 2 different labels, not 1"):
            measure(points, np.full(90, "red"))
    names[:] = "red"
    names[:4] = "blue"
    with pytest.raises(FinstError, match="'blue' has 4 trials"):
        probe(points, names)
