"""Agreement of two maps on order: rank correlation, and overlap of the largest entries."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from finst.errors import FinstError


def average_ranks(values: Float[np.ndarray, "*any entry"]) -> Float[np.ndarray, "*any entry"]:
    """Ranks from 1 along the last axis; equal values share the mean of their ranks."""
    return np.apply_along_axis(_average_ranks, -1, values)


def _average_ranks(values: Float[np.ndarray, "entry"]) -> Float[np.ndarray, "entry"]:
    ordered = np.sort(values)
    return (ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right") + 1) / 2


def spearman(
    first: Float[np.ndarray, "*any entry"], second: Float[np.ndarray, "*any entry"]
) -> Float[np.ndarray, "*any"]:
    """Spearman's rank correlation along the last axis: Pearson's of the average ranks.

    Raises FinstError where it is undefined: for fewer than two entries, and for entries that are all equal.
    """
    ranks = [average_ranks(values) for values in (first, second)]
    x, y = (rank - rank.mean(axis=-1, keepdims=True) for rank in ranks)
    scale = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    if not scale.all():
        raise FinstError("a rank correlation needs at least 2 entries that differ, in both maps")
    return np.asarray((x * y).sum(axis=-1) / scale)


def top_overlap(first: Float[np.ndarray, "*map"], second: Float[np.ndarray, "*map"], count: int) -> int:
    """The number of entries among the ``count`` largest of both maps; of equal entries the earlier ones are taken.

    Raises FinstError when the maps do not have that many entries.
    """
    if not 1 <= count <= first.size:
        raise FinstError(f"a map of {first.size} entries has a top of 1 to {first.size}, not of {count}")
    tops = [set(np.argsort(-values, axis=None, kind="stable")[:count].tolist()) for values in (first, second)]
    return len(tops[0] & tops[1])
