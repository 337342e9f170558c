"""Probes and silhouettes compared with scikit-learn."""

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
    result = probe(points, names, shrinkage=shrinkage, seed=2)
    _, index = np.unique(names, return_inverse=True)
    folds = PredefinedSplit(separability._folds(index, 5, 2))
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=[1 / 3] * 3)
    sizes = np.bincount(separability._folds(index, 5, 2))
    assert result.accuracy == pytest.approx((cross_val_score(lda, points, names, cv=folds) * sizes).sum() / 90)
    assert result.ci_low < result.accuracy < result.ci_high
    assert result.chance == 1 / 3


def test_every_trial_is_held_out_once_and_labels_are_spread_over_folds() -> None:
    _, names = blobs(1.0)
    _, index = np.unique(names, return_inverse=True)
    fold = separability._folds(index, 5, 0)
    assert all((np.bincount(fold[index == label]) == 6).all() for label in range(3))


def test_random_labels_are_at_chance_and_distant_ones_at_one() -> None:
    assert probe(*blobs(20.0)).accuracy == 1
    null = [probe(*blobs(0.0, seed=seed), seed=seed) for seed in range(40)]
    assert np.mean([random.accuracy for random in null]) == pytest.approx(1 / 3, abs=0.03)


def balanced(blocks: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every object in every cell once a block, in random order."""
    pairs = np.concatenate([rng.permutation(36) for _ in range(blocks)])
    return pairs // 6, pairs % 6, np.repeat(np.arange(blocks), 36)


def test_in_a_balanced_design_whole_blocks_make_a_probe_calibrated_where_folds_by_label_do_not() -> None:
    """Activations that hold only the cell carry no information about the object, and the probe is at chance."""
    by_block, by_label = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        objects, cells, blocks = balanced(5, rng)
        points = np.eye(6)[cells] * 4 + rng.normal(size=(len(cells), 6))
        by_block.append(probe(points, objects, groups=blocks, seed=seed).accuracy)
        by_label.append(probe(points, objects, seed=seed).accuracy)
    error = np.std(by_block) / np.sqrt(len(by_block))
    assert np.mean(by_block) == pytest.approx(1 / 6, abs=3 * error)
    assert np.mean(by_label) < 1 / 6 - 5 * error
    _, cells, blocks = balanced(5, np.random.default_rng(0))
    assert probe(np.eye(6)[cells], cells, groups=blocks).accuracy == 1


def test_groups_are_held_out_whole_and_few_groups_are_as_many_folds() -> None:
    objects, _, blocks = balanced(7, np.random.default_rng(0))
    fold = separability._group_folds(blocks, objects, 5, 0)
    assert set(fold.tolist()) == set(range(5))
    assert all(len(set(fold[blocks == block])) == 1 for block in range(7))
    assert set(separability._group_folds(blocks[:72], objects[:72], 5, 0).tolist()) == {0, 1}
    with pytest.raises(FinstError, match="only one of 1 groups"):
        separability._group_folds(blocks[:36], objects[:36], 5, 0)


def test_more_features_than_trials_are_possible() -> None:
    points, names = blobs(12.0, trials=30, features=80)
    assert probe(points, names).accuracy > 0.8


@pytest.mark.parametrize("distance", [0.0, 2.0, 8.0])
def test_silhouettes_are_scikit_learns(distance: float) -> None:
    points, names = blobs(distance)
    assert silhouette(points, names) == pytest.approx(silhouette_score(points, names), abs=1e-10)
    names[0] = "alone"
    assert silhouette(points, names) == pytest.approx(silhouette_score(points, names), abs=1e-10)


def test_a_single_label_has_no_separability_and_a_rare_one_is_refused() -> None:
    points, names = blobs(1.0)
    assert np.isnan([probe(points, np.full(90, "red")).accuracy, silhouette(points, np.full(90, "red"))]).all()
    names[:] = "red"
    names[:4] = "blue"
    with pytest.raises(FinstError, match="'blue' has 4 trials"):
        probe(points, names)
