"""How far a label separates in activations: a linear probe, and the silhouette of a plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from finst.analysis.determined import constant, finite, precision, scaled, vanishes
from finst.analysis.proportions import wilson
from finst.errors import FinstError

FOLDS = 5

Points = Float[np.ndarray, "trial feature"]
Labels = Shaped[np.ndarray, "trial"]


@dataclass(frozen=True)
class Probe:
    """Held-out accuracy of a linear probe, with its Wilson interval over trials; NaN where nothing can be learnt."""

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
    dimensions. NaN for fewer than two labels, for points that are all the same, and where the labels' means coincide in
    the training trials of a fold. Raises FinstError for points that are not finite, a label in fewer trials than folds,
    and a label in a single fold.
    """
    data, _ = scaled(finite(points, "points"))
    classes, targets, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        return Probe(np.nan, np.nan, np.nan, 1.0 if len(classes) else np.nan)
    _check_rare(classes, counts, folds if groups is None else 2)
    fold = _folds(targets, folds, seed) if groups is None else _group_folds(groups, targets, folds, seed)
    right = np.zeros(len(points), dtype=bool)
    chance = float(counts.max() / len(targets))
    for index in range(fold.max() + 1):
        test = fold == index
        means = _means(data[~test], targets[~test], len(classes))
        if _coincide(means, data[~test], precision(points)):
            return Probe(np.nan, np.nan, np.nan, chance)
        right[test] = _predicted(data[~test], targets[~test], means, data[test], shrinkage) == targets[test]
    low, high = wilson(int(right.sum()), len(right), confidence)
    return Probe(float(right.mean()), low, high, chance)


def _means(train: np.ndarray, targets: np.ndarray, count: int) -> np.ndarray:
    members = np.eye(count)[targets]
    return (members.T @ train) / members.sum(axis=0)[:, None]


def _coincide(means: np.ndarray, train: np.ndarray, eps: float) -> bool:
    """Whether the classes' means differ by rounding alone, in every feature."""
    return bool(vanishes(np.ptp(means, axis=0), abs(train).max(axis=0), eps, len(train)).all())


def _predicted(
    train: np.ndarray, targets: np.ndarray, means: np.ndarray, test: np.ndarray, shrinkage: float
) -> np.ndarray:
    """For each point of ``test``, the class whose mean is nearest in the metric of the shrunken covariance."""
    within = train - means[targets]
    spread = within.T @ within / len(train)
    scale = np.trace(spread) / len(spread)
    spread = (1 - shrinkage) * spread + (shrinkage * scale or 1.0) * np.eye(len(spread))
    directions = np.linalg.solve(spread, means.T)
    return np.argmax(test @ directions - (means.T * directions).sum(axis=0) / 2, axis=1)


def silhouette(points: Points, labels: Labels) -> float:
    """The mean silhouette of all trials: (b - a) / max(a, b), in [-1, 1].

    a is a trial's mean Euclidean distance to the others of its label, and b is that to the nearest other label; the
    silhouette of a label's only trial is 0, and so is that of a trial at distance 0 from both. NaN for fewer than two
    labels and for points that are all the same, up to rounding. Holds trials^2 numbers. Raises FinstError for points
    that are not finite.
    """
    data, _ = scaled(finite(points, "points"))
    classes, targets = np.unique(labels, return_inverse=True)
    if len(classes) < 2 or constant(points, 0).all():
        return float("nan")
    members = np.eye(len(classes))[targets]
    data = data - data.mean(axis=0)
    squares = (data**2).sum(axis=1)
    sums, products = squares[:, None] + squares, 2 * data @ data.T
    apart = ~vanishes(sums - products, sums, precision(data), data.shape[1])
    distances = np.sqrt(np.where(apart, sums - products, 0))
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


def _check_rare(classes: np.ndarray, counts: np.ndarray, least: int) -> None:
    if counts.min() < least:
        rare = classes[counts.argmin()]
        raise FinstError(f"label {str(rare)!r} has {counts.min()} trials: expected at least {least}, one a fold")


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
