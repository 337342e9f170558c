"""Representational similarity analysis: how well target RSMs explain those of activations (Figs 1c, 2, 6, 7, 14-36).

One place is one [trial, d_model] array, such as a layer at a token role; many places share trials and targets. No RSM
is kept: see ``shuffles`` for permutations, ``pairs`` for correlations and bootstrap, ``ceiling`` for the noise ceiling.

The bootstrap draws trials (whole groups of them, see ``pairs``) with replacement and takes its percentiles. It has no
bias to correct: pairs of a trial with itself, whose cosine is 1, are left out. In simulations its 95 % intervals cover
the expected r in 95 to 100 % of runs. They are too wide rather than too narrow: by a fifth to a half in balanced
designs, whose resamples are not balanced, and by more where nothing is coded, since r is then a degenerate U-statistic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from finst.analysis.comparisons import Comparison, Question
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
    """Correlations at some places as they are, after every permutation and in every resample.

    Those of one number of trials, permutations, resamples and seed permute and resample the same trials, whatever the
    targets: they can be averaged.
    """

    comparisons: tuple[Comparison, ...]
    r: Float[np.ndarray, "place comparison"]
    null: Float[np.ndarray, "place permutation comparison"]
    """The first permutation changes nothing."""
    resampled: Float[np.ndarray, "place resample comparison"]
    ceiling: Float[np.ndarray, "place 2"]
    """Lower and upper bound; NaN without conditions."""

    @classmethod
    def mean(cls, parts: Sequence[Draws]) -> Draws:
        """Of the same comparisons at several tokens, place by place; NaN where any is."""

        def mean(name: str) -> np.ndarray:
            return np.asarray(sum(getattr(one, name) for one in parts)) / len(parts)

        return cls(parts[0].comparisons, mean("r"), mean("null"), mean("resampled"), mean("ceiling"))

    def among(self, known: Bool[np.ndarray, "all"]) -> Draws:
        """The same as those places of a larger map at which ``known`` is true; NaN at the others."""

        def spread(values: np.ndarray) -> np.ndarray:
            whole = np.full((len(known), *values.shape[1:]), np.nan)
            whole[known] = values
            return whole

        return Draws(self.comparisons, *map(spread, (self.r, self.null, self.resampled, self.ceiling)))


@dataclass(frozen=True, eq=False)
class RSA:
    """Pearson correlations of cosine RSMs with target RSMs, over pairs of different trials.

    A place whose cosines are all the same has r NaN, p 1 and no ceiling.
    """

    comparisons: tuple[Comparison, ...]
    r: Float[np.ndarray, "place comparison"]
    p: Float[np.ndarray, "place comparison"]
    """One-sided, of so large an r at this place when the activations' trials are permuted against the labels."""
    p_fwer: Float[np.ndarray, "place comparison"]
    """The same of so large an r at any place, for each comparison."""
    ci_low: Float[np.ndarray, "place comparison"]
    ci_high: Float[np.ndarray, "place comparison"]
    """Percentile bootstrap over trials; with few resamples it need not contain r."""
    ceiling_low: Float[np.ndarray, "place"]
    ceiling_high: Float[np.ndarray, "place"]
    """Bounds of what the best target that depends on the conditions alone reaches; NaN without conditions."""


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
    """The statistics of ``draws``, with intervals of level ``confidence``.

    Raises FinstError as ``draws`` and ``tested`` do.
    """
    found = draws(
        activations,
        targets,
        comparisons,
        conditions=conditions,
        permutations=permutations,
        resamples=resamples,
        seed=seed,
    )
    return tested(found, confidence)


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
    """RSA of all places, one held at a time: ``activations`` may read them from a file as they are asked for.

    ``comparisons`` are those of every target by itself unless given. ``conditions`` (a label a trial) are what the
    noise ceiling is for. A permutation moves all labels of a trial together, at all places alike: partial correlations
    keep the relation between targets, and the largest r over places keeps theirs. Sums are in float64, the rest in the
    precision of ``unit``. Raises FinstError for unknown targets, targets that are the same for all pairs, places of
    another number of trials, and what ``unit`` refuses.
    """
    if min(permutations, resamples) < 1:
        raise FinstError(f"permutations are {permutations} and resamples {resamples}: expected at least 1 of each")
    question = Question.of(targets, tuple(comparisons or map(Comparison, targets)))
    labels = None if conditions is None else np.unique(conditions, return_inverse=True)[1]
    design = Design.of(question, labels, permutations, resamples, np.random.default_rng(seed))
    places = [place(one, design) for one in activations]
    if not places:
        raise FinstError("an RSA needs activations of at least 1 place")
    return Draws(
        question.comparisons,
        np.stack([one.r for one in places]),
        np.stack([one.null for one in places]),
        np.stack([one.resampled for one in places]),
        np.array([one.ceiling for one in places]),
    )


def tested(found: Draws, confidence: float) -> RSA:
    """p values over the map of all places, and intervals. Raises FinstError for a level outside of (0, 1)."""
    if not 0 < confidence < 1:
        raise FinstError(f"confidence is {confidence}: expected a level between 0 and 1")
    null = found.null
    known, reached = np.nan_to_num(null, nan=-np.inf), np.nan_to_num(null[:, :1], nan=-np.inf) - _TIE
    low, high = np.quantile(found.resampled, tails(confidence), axis=1)
    return RSA(
        comparisons=found.comparisons,
        r=found.r,
        p=(known >= reached).mean(axis=1),
        p_fwer=(known.max(axis=0) >= reached).mean(axis=1),
        ci_low=low,
        ci_high=high,
        ceiling_low=found.ceiling[:, 0],
        ceiling_high=found.ceiling[:, 1],
    )


def spearman(activations: Activations, targets: Mapping[str, Target]) -> Float[np.ndarray, "target"]:
    """Rank correlations of the cosine RSM with every target, exact: holds and sorts all trials^2 / 2 pairs.

    NaN where all cosines are the same. For a look beside Pearson's r at few places, without p: at 4,050 trials a place
    takes seconds and 0.5 GB.
    """
    ranks = average_ranks(entries(cosine_rsm(activations)))
    if np.ptp(ranks) == 0:
        return np.full(len(targets), np.nan)
    return np.array([np.corrcoef(ranks, average_ranks(entries(t.matrix())))[0, 1] for t in targets.values()])
