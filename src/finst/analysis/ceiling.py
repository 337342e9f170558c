"""How well any target could do: the noise ceiling of an RSM over trials.

The literature's ceiling (Nili et al. 2014) has subjects: the best target is the mean RSM of all subjects (upper bound)
or of the others (lower bound). One model has no others, so random halves of its trials stand for them, and the best
target is that which gives each pair of conditions its mean cosine.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from finst.analysis.pairs import Groups

SPLITS = 20

Vectors = Float[np.ndarray, "trial dim"]
Square = Float[np.ndarray, "condition condition"]


def ceiling(
    vectors: Vectors,
    conditions: Int[np.ndarray, "trial"],
    groups: Groups,
    centre: float,
    squares: Float[np.ndarray, "group group"],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Lower and upper bound of the Pearson correlation with any target that depends on the conditions alone.

    Upper: of the cosines with their own means by pair of conditions. Lower: with the means that one half of the trials
    gives, over the pairs of the other half; mean over random halves, both ways. ``vectors`` are unit ones, ``squares``
    the sums of (cosine - centre)^2 by pair of groups.
    """
    count = int(conditions.max()) + 1
    members = np.eye(count, dtype=vectors.dtype)[conditions]
    everything = _means(members.T @ vectors, members.sum(axis=0), centre)
    high = _explained(everything, everything, float(squares.sum()))
    low = []
    for _ in range(SPLITS):
        half = rng.permutation(len(groups.starts)) < len(groups.starts) // 2
        within = half[groups.members]
        sides = [_means(members[side].T @ vectors[side], members[side].sum(axis=0), centre) for side in (within, ~within)]
        spreads = [float(squares[np.ix_(side, side)].sum()) for side in (half, ~half)]
        low += [_explained(sides[0], sides[1], spreads[1]), _explained(sides[1], sides[0], spreads[0])]
    return float(np.mean(low)), high


def _means(
    sums: Float[np.ndarray, "condition dim"], sizes: Float[np.ndarray, "condition"], centre: float
) -> tuple[Square, Square]:
    """Mean of cosine - centre over pairs of different trials, and their number, by pair of conditions."""
    counts = np.outer(sizes, sizes).astype(np.float64) - np.diag(sizes)
    totals = (sums @ sums.T).astype(np.float64) - np.diag(sizes) - centre * counts
    return np.divide(totals, counts, out=np.zeros_like(totals), where=counts > 0), counts


def _explained(best: tuple[Square, Square], over: tuple[Square, Square], squares: float) -> float:
    """Correlation of the means ``best``, as a target, with the cosines of which ``over`` are the means."""
    (target, _), (means, counts) = best, over
    pairs = counts.sum()
    product = (counts * target * means).sum() - (counts * target).sum() * (counts * means).sum() / pairs
    spread = (counts * target**2).sum() - (counts * target).sum() ** 2 / pairs
    total = squares - (counts * means).sum() ** 2 / pairs
    return float(product / np.sqrt(spread * total)) if spread > 0 and total > 0 else 0.0
