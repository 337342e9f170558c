"""RSA by whole RSMs, one by one: the slow reference; and made-up designs and activations for its tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from finst.analysis.comparisons import Comparison
from finst.analysis.rsm import Kernel, Target, cosine_rsm, match, mean_of, position

COMPARISONS = (
    *(Comparison(name) for name in ("position", "colour", "features")),
    Comparison("position", "features"),
    Comparison("features", "position"),
)


def design(trials: int, seed: int = 0) -> tuple[np.ndarray, dict[str, Target]]:
    """Cells, and targets that are not independent of each other."""
    rng = np.random.default_rng(seed)
    cells, shape = rng.integers(0, 3, (trials, 2)), rng.integers(0, 4, trials)
    colours, shapes = match((cells[:, 0] + rng.integers(0, 2, trials)) % 3), match(shape)
    return cells, {"position": position(cells), "colour": colours, "features": mean_of([colours, shapes])}


def coding(cells: np.ndarray, strength: float, d_model: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(cells), d_model)) + 1 + strength * (cells @ rng.normal(size=(2, d_model)))


def ordered(targets: dict[str, Target], order: np.ndarray) -> list[Target]:
    """The same targets with the trials in another order, or only some of them."""
    return [
        Target(target.weights, tuple(Kernel(kernel.labels[order], kernel.similarity) for kernel in target.kernels))
        for target in targets.values()
    ]


def subset(targets: dict[str, Target], at: np.ndarray) -> dict[str, Target]:
    return dict(zip(targets, ordered(targets, at), strict=True))


def correlations(
    rsm: np.ndarray, targets: Mapping[str, np.ndarray], comparisons: Sequence[Comparison], pairs: tuple[np.ndarray, ...]
) -> list[float]:
    """Correlations of a whole RSM with whole targets, over the given pairs of trials."""
    values = {name: target[pairs] for name, target in targets.items()}
    return [_correlation(rsm[pairs], values, comparison) for comparison in comparisons]


def _correlation(values: np.ndarray, targets: Mapping[str, np.ndarray], comparison: Comparison) -> float:
    if not comparison.given:
        return float(np.corrcoef(values, targets[comparison.target])[0, 1])
    # A partial correlation is that of the residuals of a regression on the constant target.
    constant = np.stack([np.ones_like(values), targets[comparison.given]], axis=1)
    left, right = (
        part - constant @ np.linalg.lstsq(constant, part)[0] for part in (values, targets[comparison.target])
    )
    return float(np.corrcoef(left, right)[0, 1])


def whole(targets: Mapping[str, Target]) -> dict[str, np.ndarray]:
    return {name: target.matrix() for name, target in targets.items()}


def observed(activations: np.ndarray, targets: Mapping[str, Target], comparisons: Sequence[Comparison]) -> list[float]:
    pairs = np.triu_indices(len(activations), 1)
    return correlations(cosine_rsm(activations), whole(targets), comparisons, pairs)


def permuted(
    activations: np.ndarray, targets: Mapping[str, Target], comparisons: Sequence[Comparison], labels_of: np.ndarray
) -> list[float]:
    """Correlations when each trial takes the labels of another."""
    moved = {name: target[np.ix_(labels_of, labels_of)] for name, target in whole(targets).items()}
    return correlations(cosine_rsm(activations), moved, comparisons, np.triu_indices(len(activations), 1))


def resampled(
    activations: np.ndarray, targets: Mapping[str, Target], comparisons: Sequence[Comparison], drawn: np.ndarray
) -> list[float]:
    """Correlations over trials drawn with replacement, without pairs of a trial with itself."""
    first, second = (drawn[index] for index in np.triu_indices(len(drawn), 1))
    apart = first != second
    return correlations(cosine_rsm(activations), whole(targets), comparisons, (first[apart], second[apart]))
