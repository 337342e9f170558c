"""The noise ceiling of an RSM over trials: the correlation that the best target could reach.

In the literature (Nili et al. 2014) the best target is the mean RSM of all subjects (upper bound) or of all other
subjects (lower bound). A model is a single subject, so random halves of its trials take the place of subjects. The best
target has the mean cosine of each pair of conditions.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from finst.analysis.cosines import Cosines
from finst.analysis.determined import precision, vanishes
from finst.analysis.pairs import Groups

SPLITS = 20
"""Number of random splits into halves."""

Square = Float[np.ndarray, "condition condition"]


def ceiling(
    cosines: Cosines,
    conditions: Int[np.ndarray, "trial"],
    groups: Groups,
    centre: float,
    squares: Float[np.ndarray, "group group"],
    halves: Bool[np.ndarray, "split group"],
) -> tuple[float, float]:
    """Lower and upper bound of the Pearson correlation with any target that depends on the conditions alone.

    Upper: of the cosines with their own means by pair of conditions. Lower: of the cosines in one half of the trials
    with the means from the other half; mean over both directions of all ``halves``. ``squares`` are the sums of
    (cosine - centre)^2 by pair of groups. NaN where the means by pair of conditions are all the same.
    """
    members = np.eye(int(conditions.max()) + 1, dtype=cosines.vectors.dtype)[conditions]
    pieces = [slice(start, start + size) for start, size in zip(groups.starts, groups.sizes, strict=True)]
    vectors, offsets, sizes = (
        np.stack([members[piece].T @ values[piece] for piece in pieces])
        for values in (cosines.vectors, cosines.offsets, np.ones(len(members)))
    )

    def means(part: Bool[np.ndarray, "group"]) -> tuple[Square, Square]:
        return _means(vectors[part].sum(axis=0), offsets[part].sum(axis=0), sizes[part].sum(axis=0), centre)

    whole = means(np.ones(len(pieces), dtype=bool))
    eps = precision(cosines.vectors)
    high = _explained(whole, whole, float(squares.sum()), eps)
    low = []
    for half in halves:
        sides = [means(side) for side in (half, ~half)]
        spreads = [float(squares[np.ix_(side, side)].sum()) for side in (half, ~half)]
        low += [_explained(sides[0], sides[1], spreads[1], eps), _explained(sides[1], sides[0], spreads[0], eps)]
    known = [r for r in low if not np.isnan(r)]
    return (float(np.mean(known)) if known else np.nan), high


def _means(
    vectors: Float[np.ndarray, "condition dim"],
    offsets: Float[np.ndarray, "condition"],
    sizes: Float[np.ndarray, "condition"],
    centre: float,
) -> tuple[Square, Square]:
    """Mean of cosine - centre over pairs of different trials, and the number of pairs, by pair of conditions.

    ``vectors`` and ``offsets`` are sums over the trials of each condition, ``sizes`` their numbers.
    """
    counts = np.outer(sizes, sizes) - np.diag(sizes)
    crossed = np.outer(offsets, sizes)
    totals = (vectors @ vectors.T).astype(np.float64) + crossed + crossed.T - np.diag(sizes) - centre * counts
    return np.divide(totals, counts, out=np.zeros_like(totals), where=counts > 0), counts


def _explained(best: tuple[Square, Square], over: tuple[Square, Square], squares: float, eps: float) -> float:
    """Correlation of the means ``best``, as a target, with the cosines of which ``over`` are the means.

    NaN where either is constant, up to ``eps``, the rounding error of cosines.
    """
    (target, _), (means, counts) = best, over
    pairs = counts.sum()
    if not pairs:
        return np.nan
    product = (counts * target * means).sum() - (counts * target).sum() * (counts * means).sum() / pairs
    spread = (counts * target**2).sum() - (counts * target).sum() ** 2 / pairs
    total = squares - (counts * means).sum() ** 2 / pairs
    sizes = (counts * target**2).sum(), squares
    for variance, size in zip((spread, total), sizes, strict=True):
        rounding = vanishes(np.sqrt(max(variance, 0.0) / pairs), 1.0, eps)
        if rounding or vanishes(variance, size, float(np.finfo(np.float64).eps), len(counts)):
            return np.nan
    return float(product / np.sqrt(spread * total))
