"""RSA the plain way, RSM by RSM: the slow twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from finst.analysis.comparisons import Comparison
from finst.analysis.rsm import Target, cosine_rsm


def correlations(
    rsm: np.ndarray, targets: Mapping[str, np.ndarray], comparisons: Sequence[Comparison], pairs: tuple[np.ndarray, ...]
) -> list[float]:
    """Of a whole RSM with whole targets, over the given pairs of trials."""
    values = {name: target[pairs] for name, target in targets.items()}
    return [_correlation(rsm[pairs], values, one) for one in comparisons]


def _correlation(values: np.ndarray, targets: Mapping[str, np.ndarray], one: Comparison) -> float:
    if not one.given:
        return float(np.corrcoef(values, targets[one.target])[0, 1])
    # A partial correlation is that of what a regression on the held target leaves.
    held = np.stack([np.ones_like(values), targets[one.given]], axis=1)
    left, right = (rest - held @ np.linalg.lstsq(held, rest)[0] for rest in (values, targets[one.target]))
    return float(np.corrcoef(left, right)[0, 1])


def whole(targets: Mapping[str, Target]) -> dict[str, np.ndarray]:
    return {name: target.matrix() for name, target in targets.items()}


def observed(activations: np.ndarray, targets: Mapping[str, Target], comparisons: Sequence[Comparison]) -> list[float]:
    pairs = np.triu_indices(len(activations), 1)
    return correlations(cosine_rsm(activations), whole(targets), comparisons, pairs)


def permuted(
    activations: np.ndarray, targets: Mapping[str, Target], comparisons: Sequence[Comparison], labels_of: np.ndarray
) -> list[float]:
    """Each trial taking the labels of another."""
    moved = {name: target[np.ix_(labels_of, labels_of)] for name, target in whole(targets).items()}
    return correlations(cosine_rsm(activations), moved, comparisons, np.triu_indices(len(activations), 1))


def resampled(
    activations: np.ndarray, targets: Mapping[str, Target], comparisons: Sequence[Comparison], drawn: np.ndarray
) -> list[float]:
    """Trials drawn with replacement, pairs of a trial with itself left out."""
    first, second = (drawn[index] for index in np.triu_indices(len(drawn), 1))
    apart = first != second
    return correlations(cosine_rsm(activations), whole(targets), comparisons, (first[apart], second[apart]))
