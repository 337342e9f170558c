"""Agreement of two maps on order: rank correlation, and overlap of the largest entries."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from finst.analysis.determined import constant, finite, precision, ties_joined
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

    Entries that differ by rounding alone are tied. NaN where it is undefined: for fewer than two entries, and for
    entries that are all equal. Raises FinstError for entries that are not finite.
    """
    joined = [
        np.apply_along_axis(ties_joined, -1, finite(x, "entries of a map"), None, precision(x)) for x in (first, second)
    ]
    x, y = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in map(average_ranks, joined))
    scale = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    undefined = constant(first) | constant(second) | (scale == 0)
    return np.where(undefined, np.nan, (x * y).sum(axis=-1) / np.where(undefined, 1.0, scale))


def top_overlap(first: Float[np.ndarray, "*map"], second: Float[np.ndarray, "*map"], count: int) -> int:
    """The number of entries among the ``count`` largest of both maps; of equal entries the earlier ones are taken.

    Raises FinstError when the maps do not have that many entries.
    """
    if not 1 <= count <= first.size:
        raise FinstError(f"a map of {first.size} entries has a top of 1 to {first.size}, not of {count}")
    tops = [set(np.argsort(-values, axis=None, kind="stable")[:count].tolist()) for values in (first, second)]
    return len(tops[0] & tops[1])
