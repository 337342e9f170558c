"""Representational similarity analysis: how well target RSMs explain those of activations (Figs 1c, 2, 6, 7, 14-36).

One place is one [trial, d_model] array, such as a layer at a token role; many places share trials and targets. No RSM
is kept: see ``shuffles`` for permutations, ``pairs`` for correlations and bootstrap, ``ceiling`` for the noise ceiling.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from finst.analysis.comparisons import Comparison, Question
from finst.analysis.places import Design, place
from finst.analysis.ranks import average_ranks
from finst.analysis.rsm import Activations, Target, cosine_rsm, entries
from finst.analysis.statistics import tails
from finst.errors import FinstError

__all__ = ["RSA", "Comparison", "rsa", "spearman"]

PERMUTATIONS = 1_000
RESAMPLES = 1_000

_TIE = 1e-6
"""Correlations that differ by less are equal: the same sum in another order, in float32."""


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
    """Percentile bootstrap over trials; pairs of a trial with itself are left out."""
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
    """RSA of all places, one held at a time: ``activations`` may read them from a file as they are asked for.

    ``comparisons`` are those of every target by itself unless given. ``conditions`` (a label a trial) are what the
    noise ceiling is for. A permutation moves all labels of a trial together, at all places alike: partial correlations
    keep the relation between targets, and the largest r over places keeps theirs. Sums are in float64, the rest in the
    precision of ``unit``. Raises FinstError for unknown targets, targets that are the same for all pairs, places of
    another number of trials, and what ``unit`` refuses.
    """
    if min(permutations, resamples) < 1 or not 0 < confidence < 1:
        raise FinstError(
            f"permutations are {permutations}, resamples {resamples} and confidence {confidence}: expected at least 1, "
            "at least 1, and a level between 0 and 1"
        )
    question = Question.of(targets, tuple(comparisons or map(Comparison, targets)))
    labels = None if conditions is None else np.unique(conditions, return_inverse=True)[1]
    design = Design.of(question, labels, permutations, resamples, np.random.default_rng(seed))
    places = [place(one, design) for one in activations]
    if not places:
        raise FinstError("an RSA needs activations of at least 1 place")
    r, null = np.stack([one.r for one in places]), np.stack([one.null for one in places])
    known, reached = np.nan_to_num(null, nan=-np.inf), np.nan_to_num(null[:, :1], nan=-np.inf) - _TIE
    low, high = np.quantile([one.resampled for one in places], tails(confidence), axis=1)
    bounds = np.array([one.ceiling for one in places])
    return RSA(
        comparisons=question.comparisons,
        r=r,
        p=(known >= reached).mean(axis=1),
        p_fwer=(known.max(axis=0) >= reached).mean(axis=1),
        ci_low=low,
        ci_high=high,
        ceiling_low=bounds[:, 0],
        ceiling_high=bounds[:, 1],
    )


def spearman(activations: Activations, targets: Mapping[str, Target]) -> Float[np.ndarray, "target"]:
    """Rank correlations of the cosine RSM with every target, exact: holds and sorts all trials^2 / 2 pairs.

    For a look beside Pearson's r at few places, without p: at 4,050 trials a place takes seconds and 0.5 GB.
    """
    ranks = average_ranks(entries(cosine_rsm(activations)))
    return np.array([np.corrcoef(ranks, average_ranks(entries(t.matrix())))[0, 1] for t in targets.values()])
