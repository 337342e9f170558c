"""Does a map depend on a label: permutation tests of labels, for whole maps at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from finst.analysis.statistics import PERMUTATIONS, Scores
from finst.errors import FinstError


@dataclass(frozen=True, eq=False)
class LabelTest:
    """Permutation tests of "the mean does not depend on the label", one for every entry of a map."""

    explained: Float[np.ndarray, "*map"]
    """Eta squared: the share of an entry's variance over samples that lies between labels."""
    p: Float[np.ndarray, "*map"]
    """Of each entry by itself."""
    p_fwer: Float[np.ndarray, "*map"]
    """Of each entry among all of the map: the chance of so large a share anywhere when labels mean nothing."""


def label_permutation(
    scores: Scores, labels: Shaped[np.ndarray, "sample"], *, permutations: int = PERMUTATIONS, seed: int = 0
) -> LabelTest:
    """Permutes labels over samples, whole maps together, and takes the largest share of the map for ``p_fwer``.

    Raises FinstError for fewer than two different labels.
    """
    groups, members = np.unique(labels, return_inverse=True)
    if len(groups) < 2:
        raise FinstError(f"a test of labels needs at least 2 different ones, not {len(groups)}")
    data = np.asarray(scores, dtype=np.float64).reshape(len(scores), -1)
    data = data - data.mean(axis=0)
    scale = np.linalg.norm(data, axis=0)
    data = np.divide(data, scale, out=np.zeros_like(data), where=scale > 0)
    found = _share(data, members)
    rng = np.random.default_rng(seed)
    drawn = np.array([_share(data, rng.permutation(members)) for _ in range(permutations)])
    shape = scores.shape[1:]
    p = ((drawn >= found - 1e-12).sum(axis=0) + 1) / (permutations + 1)
    largest = drawn.max(axis=1)[:, None]
    p_fwer = ((largest >= found - 1e-12).sum(axis=0) + 1) / (permutations + 1)
    return LabelTest(found.reshape(shape), p.reshape(shape), p_fwer.reshape(shape))


def _share(data: np.ndarray, members: np.ndarray) -> np.ndarray:
    groups = np.eye(members.max() + 1)[members]
    return ((groups.T @ data) ** 2 / groups.sum(axis=0)[:, None]).sum(axis=0)
