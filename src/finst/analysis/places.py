"""One place of an RSA: its correlations, also after every permutation and in every resample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from finst.analysis.ceiling import SPLITS, ceiling
from finst.analysis.comparisons import ComparisonSet
from finst.analysis.cosines import Cosines
from finst.analysis.determined import precision, vanishes
from finst.analysis.pairs import Groups, Sums, cosine_sums, kernel_sums
from finst.analysis.rsm import Activations
from finst.analysis.shuffles import Shuffles, shuffles
from finst.errors import FinstError

_EXACT = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Design:
    """What all places share: permutations, resamples, halves, and the sums of targets; trials are in random order."""

    comparisons: ComparisonSet
    order: Int[np.ndarray, "trial"]
    """The random order."""
    conditions: Int[np.ndarray, "trial"] | None
    shuffles: Shuffles
    groups: Groups
    drawn: Float[np.ndarray, "draw group"]
    """How often a resample contains each group; the first draw contains each group once."""
    halves: Bool[np.ndarray, "split group"]
    pairs: Float[np.ndarray, "draw"]
    """Pairs of different trials in each draw."""
    means: Float[np.ndarray, "draw kernel"]
    """Means of kernels over pairs."""
    between: Float[np.ndarray, "draw target target"]
    """Covariances of targets over pairs; NaN for a target that is the same for all pairs of a draw."""

    @classmethod
    def of(
        cls,
        comparisons: ComparisonSet,
        conditions: Int[np.ndarray, "trial"] | None,
        permutations: int,
        resamples: int,
        rng: np.random.Generator,
    ) -> Design:
        """The design for all places."""
        order = rng.permutation(comparisons.trials)
        comparisons = comparisons.ordered(order)
        groups = Groups.of(comparisons.trials)
        count = len(groups.starts)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        drawn = np.concatenate([np.ones((1, count)), drawn])
        halves = np.stack([rng.permutation(count) < count // 2 for _ in range(SPLITS)])
        singles, products = kernel_sums(comparisons.kernels, groups)
        pairs = _drawn(groups.pairs()[None], drawn)[:, 0]
        pairs = np.where(pairs > 0, pairs, np.nan)  # a resample may hold one trial alone
        means = _drawn(singles, drawn) / pairs[:, None]
        size = len(comparisons.kernels)
        squares = (_drawn(products, drawn) / pairs[:, None]).reshape(-1, size, size)
        covariances = squares - means[:, :, None] * means[:, None, :]
        weights = comparisons.weights
        between = weights @ covariances @ weights.T
        sizes = np.einsum("tk,dkl,tl->dt", abs(weights), squares, abs(weights))
        same = vanishes(np.einsum("dtt->dt", between), sizes, _EXACT, comparisons.trials)
        between[same] = np.nan
        permuted = shuffles(comparisons.trials, permutations, rng)
        ordered = None if conditions is None else conditions[order]
        return cls(comparisons, order, ordered, permuted, groups, drawn, halves, pairs, means, between)


@dataclass(frozen=True, eq=False)
class Place:
    """The correlations at one place; all NaN where all its cosines are the same, or some trial has none."""

    r: Float[np.ndarray, "comparison"]
    null: Float[np.ndarray, "permutation comparison"]
    """r after every permutation; the first one is the identity."""
    resampled: Float[np.ndarray, "resample comparison"]
    ceiling: tuple[float, float]
    """Lower and upper bound; NaN also without conditions."""


def place(activations: Activations, design: Design) -> Place:
    """The correlations of one place's activations.

    A resample whose cosines are all the same is NaN, too. Raises FinstError for another number of trials than the
    design's, and as ``unit`` does.
    """
    comparisons, count = design.comparisons, design.pairs[0]
    if len(activations) != comparisons.trials:
        raise FinstError(f"targets are over {comparisons.trials} trials and activations over {len(activations)}")
    cosines = Cosines.of(activations[design.order])
    centre = float((cosines.total - comparisons.trials) / count)
    sums = cosine_sums(cosines, centre, comparisons.kernels, design.groups)
    moments = _drawn(sums, design.drawn) / design.pairs[:, None]
    spread = moments[:, 1] - moments[:, 0] ** 2
    # Cosines are rounded relative to 1; the difference of moments, relative to the first of them.
    eps = precision(cosines.vectors)
    same = vanishes(np.sqrt(np.maximum(spread, 0)), 1.0, eps) | vanishes(
        spread, moments[:, 1], _EXACT, comparisons.trials
    )
    spread = np.where(same, np.nan, spread)
    cross = (moments[:, 2:] - moments[:, :1] * design.means) @ comparisons.weights.T
    r = comparisons.correlations(cross, spread, design.between, eps)
    forms = design.shuffles.forms(cosines, comparisons.kernels)
    self_pairs = [kernel.similarity[kernel.labels, kernel.labels].sum() for kernel in comparisons.kernels]
    permuted = ((forms - self_pairs) / count - centre * design.means[0]) @ comparisons.weights.T
    null = comparisons.correlations(permuted, spread[:1], design.between[:1], eps)
    bounds = (np.nan, np.nan)
    if design.conditions is not None and not same[0]:
        bounds = ceiling(cosines, design.conditions, design.groups, centre, sums[1], design.halves)
    return Place(r[0], null, r[1:], bounds)


def _drawn(sums: Sums, drawn: Float[np.ndarray, "draw group"]) -> Float[np.ndarray, "draw value"]:
    """Sums over the pairs of trials in each draw."""
    return np.stack([np.einsum("dg,dg->d", drawn @ by_group, drawn) for by_group in sums], axis=1)
