"""Whether a map depends on a label: permutation tests of labels, for whole maps at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from finst.analysis.determined import constant, finite, scaled
from finst.analysis.statistics import PERMUTATIONS, Scores

_CHUNK_BYTES = 1 << 26
"""Memory for the sums of one chunk of permutations."""

_TIE = 1e-12
"""Shares that differ by less are equal: the same sum in another order of its terms."""


@dataclass(frozen=True, eq=False)
class LabelTest:
    """Permutation tests of "the mean does not depend on the label", one for every entry of a map.

    NaN for entries that are the same in all samples, which take no part in the family, and everywhere for fewer than
    two different labels.
    """

    explained: Float[np.ndarray, "*map"]
    """Eta squared: the share of an entry's variance over samples that lies between labels."""
    p: Float[np.ndarray, "*map"]
    """p of each entry by itself."""
    p_fwer: Float[np.ndarray, "*map"]
    """Family-wise p of each entry: the chance of so large a share anywhere in the map if labels have no effect."""


def label_permutation(
    scores: Scores, labels: Shaped[np.ndarray, "sample"], *, permutations: int = PERMUTATIONS, seed: int = 0
) -> LabelTest:
    """Tests by permutations of labels over samples; ``p_fwer`` compares with the largest share of the map.

    A permutation is the same for all entries of the map. Raises FinstError for scores that are not finite.
    """
    groups, members = np.unique(labels, return_inverse=True)
    shape = scores.shape[1:]
    results = np.full((3, math.prod(shape)), np.nan)
    varies = ~constant(scores, 0).ravel() & (len(groups) > 1)
    data, _ = scaled(np.ascontiguousarray(finite(scores).reshape(len(scores), math.prod(shape))[:, varies]), axis=0)
    if not varies.any():
        return LabelTest(*(part.reshape(shape) for part in results))
    data = data - data.mean(axis=0)
    data = data / np.linalg.norm(data, axis=0)
    shares = np.eye(len(groups))[members] / np.sqrt(np.bincount(members))
    explained = _explained(data, shares[None])[0]
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_BYTES // (8 * len(groups) * (len(data) + data.shape[1])))
    reached, reached_max = np.ones(len(explained)), np.ones(len(explained))
    for start in range(0, permutations, step):
        orders = [rng.permutation(len(data)) for _ in range(min(step, permutations - start))]
        drawn = _explained(data, shares[np.stack(orders)]) + _TIE
        reached += (drawn >= explained).sum(axis=0)
        reached_max += (drawn.max(axis=1, keepdims=True) >= explained).sum(axis=0)
    results[:, varies] = explained, reached / (permutations + 1), reached_max / (permutations + 1)
    return LabelTest(*(part.reshape(shape) for part in results))


def _explained(
    data: Float[np.ndarray, "sample entry"], shares: Float[np.ndarray, "draw sample label"]
) -> Float[np.ndarray, "draw entry"]:
    """Eta squared: over all labels, the squared sum of a label's samples divided by their number."""
    return ((np.swapaxes(shares, 1, 2) @ data) ** 2).sum(axis=1)
