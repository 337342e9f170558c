"""How far a label separates in activations: a linear probe, and the silhouette of a plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from finst.analysis.proportions import wilson
from finst.errors import FinstError

FOLDS = 5

Points = Float[np.ndarray, "trial feature"]
Labels = Shaped[np.ndarray, "trial"]


@dataclass(frozen=True)
class Probe:
    """Held-out accuracy of a linear probe, with its Wilson interval over trials."""

    accuracy: float
    ci_low: float
    ci_high: float
    chance: float
    """The share of the most frequent label."""


def probe(
    points: Points,
    labels: Labels,
    *,
    folds: int = FOLDS,
    groups: Labels | None = None,
    shrinkage: float = 0.01,
    confidence: float = 0.95,
    seed: int = 0,
) -> Probe:
    """Cross-validated accuracy of linear discriminant analysis; every trial is held out once.

    Folds are made of whole ``groups`` if these are given (with fewer groups than ``folds``, a fold is a group), else of
    equal shares of each label. For an exactly balanced design, give its blocks as groups. Folds balanced in one label
    only would leave the training trials unbalanced in the other labels, in the opposite direction to the held-out ones,
    and the accuracy of a probe would fall below chance.

    The shared covariance is (1 - shrinkage) W + shrinkage trace(W)/features I; labels have equal priors. Each fold
    solves a system of ``features`` equations, so give the first hundred principal components rather than thousands of
    dimensions. Raises FinstError for fewer than two labels, a label in fewer trials than folds, and a label in a single
    fold.
    """
    classes, targets = _classes(labels, folds if groups is None else 2)
    fold = _folds(targets, folds, seed) if groups is None else _group_folds(groups, targets, folds, seed)
    right = np.zeros(len(points), dtype=bool)
    data = np.asarray(points, dtype=np.float64)
    for index in range(fold.max() + 1):
        test = fold == index
        right[test] = _predicted(data[~test], targets[~test], data[test], len(classes), shrinkage) == targets[test]
    low, high = wilson(int(right.sum()), len(right), confidence)
    return Probe(float(right.mean()), low, high, float(np.bincount(targets).max() / len(targets)))


def _predicted(train: np.ndarray, targets: np.ndarray, test: np.ndarray, count: int, shrinkage: float) -> np.ndarray:
    """For each point of ``test``, the class whose mean is nearest in the metric of the shrunken covariance."""
    members = np.eye(count)[targets]
    means = (members.T @ train) / members.sum(axis=0)[:, None]
    within = train - means[targets]
    spread = within.T @ within / len(train)
    scale = np.trace(spread) / len(spread)
    spread = (1 - shrinkage) * spread + (shrinkage * scale or 1.0) * np.eye(len(spread))
    directions = np.linalg.solve(spread, means.T)
    return np.argmax(test @ directions - (means.T * directions).sum(axis=0) / 2, axis=1)


def silhouette(points: Points, labels: Labels) -> float:
    """The mean silhouette of all trials: (b - a) / max(a, b), in [-1, 1].

    a is a trial's mean Euclidean distance to the others of its label, and b is that to the nearest other label; the
    silhouette of a label's only trial is 0. Holds trials^2 numbers. Raises FinstError for fewer than two labels.
    """
    _, targets = _classes(labels, 1)
    members = np.eye(targets.max() + 1)[targets]
    data = np.asarray(points, dtype=np.float64)
    data = data - data.mean(axis=0)
    squares = (data**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * data @ data.T, 0))
    np.fill_diagonal(distances, 0)
    sums, counts = distances @ members, members.sum(axis=0)
    rows = np.arange(len(data))
    size = counts[targets]
    inner = sums[rows, targets] / np.maximum(size - 1, 1)
    outer = sums / counts
    outer[rows, targets] = np.inf
    nearest = outer.min(axis=1)
    larger = np.maximum(inner, nearest)
    values = np.divide(nearest - inner, larger, out=np.zeros(len(data)), where=(larger > 0) & (size > 1))
    return float(values.mean())


def _classes(labels: Labels, least: int) -> tuple[np.ndarray, np.ndarray]:
    classes, targets, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise FinstError(f"separability needs at least 2 different labels, not {len(classes)}")
    if counts.min() < least:
        rare = classes[counts.argmin()]
        raise FinstError(f"label {str(rare)!r} has {counts.min()} trials: expected at least {least}, one a fold")
    return classes, targets


def _folds(targets: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """A fold for every trial: each label's trials in random order, assigned to folds in turn."""
    order = np.random.default_rng(seed).permutation(len(targets))
    order = order[np.argsort(targets[order], kind="stable")]
    fold = np.empty(len(targets), dtype=np.int64)
    fold[order] = np.arange(len(targets)) % folds
    return fold


def _group_folds(groups: Labels, targets: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """A fold for every trial: the groups in random order, assigned to folds in turn."""
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    fold = (np.random.default_rng(seed).permutation(count) % folds)[group]
    if min(len(set(fold[targets == label])) for label in range(targets.max() + 1)) < 2:
        raise FinstError(f"a label is in only one of {count} groups: expected at least 2, for training and for testing")
    return fold
