"""Representational similarity analysis: how well target RSMs explain those of activations (Figs 1c, 2, 6, 7, 14-36).

A place is a [trial, d_model] array, such as a layer at a token role; many places share trials and targets. No RSM is
kept: see ``shuffles`` for permutations, ``pairs`` for correlations and bootstrap, ``ceiling`` for the noise ceiling.

The bootstrap draws trials (in groups, see ``pairs``) with replacement and takes percentiles. It needs no correction for
bias, since pairs of a trial with itself, whose cosine is 1, are left out. In simulations its 95 % intervals cover the
expected r in 95 to 100 % of runs. They are too wide rather than too narrow: by a fifth to a half in balanced designs,
whose resamples are not balanced, and by more where nothing is coded, since r is then a degenerate U-statistic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from finst.analysis.comparisons import Comparison, ComparisonSet
from finst.analysis.determined import precision, ties_joined, vanishes
from finst.analysis.places import Design, place
from finst.analysis.ranks import average_ranks
from finst.analysis.rsm import Activations, Target, cosine_rsm, entries
from finst.analysis.statistics import tails
from finst.errors import FinstError

__all__ = ["RSA", "Comparison", "Draws", "draws", "rsa", "spearman", "tested"]

PERMUTATIONS = 1_000
RESAMPLES = 1_000

_TIE = 1e-6
"""Correlations that differ by less are equal: the same sum in another order, in float32."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Correlations at some places, also after every permutation and in every resample.

    Draws with the same numbers of trials, permutations and resamples and the same seed permute and resample the same
    trials, whatever the targets. They can therefore be averaged.
    """

    comparisons: tuple[Comparison, ...]
    r: Float[np.ndarray, "place comparison"]
    null: Float[np.ndarray, "place permutation comparison"]
    """r after every permutation; the first one is the identity."""
    resampled: Float[np.ndarray, "place resample comparison"]
    ceiling: Float[np.ndarray, "place 2"]
    """Lower and upper bound; NaN without conditions."""

    @classmethod
    def mean(cls, parts: Sequence[Draws]) -> Draws:
        """The mean over several tokens with the same comparisons, place by place; NaN where any token has NaN."""

        def mean(name: str) -> np.ndarray:
            return np.asarray(sum(getattr(part, name) for part in parts)) / len(parts)

        return cls(parts[0].comparisons, mean("r"), mean("null"), mean("resampled"), mean("ceiling"))

    def among(self, known: Bool[np.ndarray, "all"]) -> Draws:
        """These places as part of a larger map: they are where ``known`` is true, and the others are NaN."""

        def spread(values: np.ndarray) -> np.ndarray:
            whole = np.full((len(known), *values.shape[1:]), np.nan)
            whole[known] = values
            return whole

        return Draws(self.comparisons, *map(spread, (self.r, self.null, self.resampled, self.ceiling)))


@dataclass(frozen=True, eq=False)
class RSA:
    """Pearson correlations of cosine RSMs with target RSMs, over pairs of different trials.

    A comparison that the data do not determine has r and p NaN, and takes no part in the largest r: where all cosines
    of a place are the same, a trial has none, a target is the same for all pairs, or is collinear with the given one.
    """

    comparisons: tuple[Comparison, ...]
    r: Float[np.ndarray, "place comparison"]
    p: Float[np.ndarray, "place comparison"]
    """One-sided p of so large an r at this place, by permutations of the activations' trials against the labels."""
    p_fwer: Float[np.ndarray, "place comparison"]
    """The same for so large an r at any place, for each comparison."""
    ci_low: Float[np.ndarray, "place comparison"]
    ci_high: Float[np.ndarray, "place comparison"]
    """Percentile bootstrap over trials; with few resamples it need not contain r."""
    ceiling_low: Float[np.ndarray, "place"]
    ceiling_high: Float[np.ndarray, "place"]
    """Bounds of the r of the best target that depends only on the conditions; NaN without conditions."""


def rsa(
    activations: Iterable[Activations],
    targets: Mapping[str, Target],
    comparisons: Sequence[Comparison] | None = None,
    *,
    conditions: Shaped[np.ndarray, "trial"] | None = None,
    permutations: int = PERMUTATIONS,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> RSA:
    """RSA of all places: correlations with p values and with intervals of level ``confidence``.

    Arguments are those of ``draws``. Raises FinstError as ``draws`` and ``tested`` do.
    """
    drawn = draws(
        activations,
        targets,
        comparisons,
        conditions=conditions,
        permutations=permutations,
        resamples=resamples,
        seed=seed,
    )
    return tested(drawn, confidence)


def draws(
    activations: Iterable[Activations],
    targets: Mapping[str, Target],
    comparisons: Sequence[Comparison] | None = None,
    *,
    conditions: Shaped[np.ndarray, "trial"] | None = None,
    permutations: int = PERMUTATIONS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Draws:
    """Correlations of all places, with their permutations and resamples; one place is in memory at a time.

    ``activations`` has a [trial, d_model] array for each place, and may read it from a file when it is needed.
    ``comparisons`` are by default the plain ones of every target. ``conditions`` (a label for each trial) are those of
    the noise ceiling. A permutation moves all labels of a trial together, in the same way at all places. It thus keeps
    the relations among targets, which partial correlations need, and among places, which the largest r needs. Sums are
    in float64, the rest in the precision of ``unit``.

    All is NaN for fewer than 3 trials. Raises FinstError for unknown targets, and places with another number of trials,
    and as ``unit`` does.
    """
    if min(permutations, resamples) < 1:
        raise FinstError(f"permutations are {permutations} and resamples {resamples}: expected at least 1 of each")
    compared = ComparisonSet.of(targets, tuple(comparisons or map(Comparison, targets)))
    labels = None if conditions is None else np.unique(conditions, return_inverse=True)[1]
    design = Design.of(compared, labels, permutations, resamples, np.random.default_rng(seed))
    places = [place(vectors, design) for vectors in activations]
    if not places:
        raise FinstError("an RSA needs activations of at least 1 place")
    return Draws(
        compared.comparisons,
        np.stack([at.r for at in places]),
        np.stack([at.null for at in places]),
        np.stack([at.resampled for at in places]),
        np.array([at.ceiling for at in places]),
    )


def tested(drawn: Draws, confidence: float) -> RSA:
    """p values over the map of all places, and intervals. Raises FinstError for a level outside of (0, 1)."""
    if not 0 < confidence < 1:
        raise FinstError(f"confidence is {confidence}: expected a level between 0 and 1")
    null, unknown = drawn.null, np.isnan(drawn.r)
    known, reached = np.nan_to_num(null, nan=-np.inf), np.nan_to_num(null[:, :1], nan=-np.inf) - _TIE
    low, high = np.quantile(drawn.resampled, tails(confidence), axis=1)
    return RSA(
        comparisons=drawn.comparisons,
        r=drawn.r,
        p=np.where(unknown, np.nan, (known >= reached).mean(axis=1)),
        p_fwer=np.where(unknown, np.nan, (known.max(axis=0) >= reached).mean(axis=1)),
        ci_low=low,
        ci_high=high,
        ceiling_low=drawn.ceiling[:, 0],
        ceiling_high=drawn.ceiling[:, 1],
    )


def spearman(activations: Activations, targets: Mapping[str, Target]) -> Float[np.ndarray, "target"]:
    """Exact rank correlations of the cosine RSM with every target: holds and sorts all trials^2 / 2 pairs.

    Cosines that differ by rounding alone are tied. NaN where all cosines are the same, a trial has none, or a target
    is the same for all pairs. There is no p; at 4,050 trials a place takes seconds and 0.5 GB.
    """
    cosines = entries(cosine_rsm(activations))
    if len(cosines) < 2 or vanishes(cosines.std(dtype=np.float64), 1.0, precision(cosines)):
        return np.full(len(targets), np.nan)
    ranks = average_ranks(ties_joined(cosines, 1.0))
    return np.array([_rank_correlation(ranks, entries(target.matrix())) for target in targets.values()])


def _rank_correlation(ranks: Float[np.ndarray, "entry"], target: Float[np.ndarray, "entry"]) -> float:
    joined = average_ranks(ties_joined(target, float(abs(target).max())))
    return np.nan if np.ptp(joined) == 0 else float(np.corrcoef(ranks, joined)[0, 1])
