"""One place of an RSA: its correlations, also after every permutation and in every resample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from finst.analysis.ceiling import SPLITS, ceiling
from finst.analysis.comparisons import ComparisonSet
from finst.analysis.cosines import Cosines
from finst.analysis.pairs import Groups, Sums, cosine_sums, kernel_sums
from finst.analysis.rsm import Activations
from finst.analysis.shuffles import Shuffles, shuffles
from finst.errors import FinstError

_CONSTANT = 1e-12
"""A target with less variance over pairs than this is constant."""


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
    """Covariances of targets over pairs."""

    @classmethod
    def of(
        cls,
        comparisons: ComparisonSet,
        conditions: Int[np.ndarray, "trial"] | None,
        permutations: int,
        resamples: int,
        rng: np.random.Generator,
    ) -> Design:
        """The design for all places. Raises FinstError for a target that is the same for all pairs."""
        order = rng.permutation(comparisons.trials)
        comparisons = comparisons.ordered(order)
        groups = Groups.of(comparisons.trials)
        count = len(groups.starts)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        drawn = np.concatenate([np.ones((1, count)), drawn])
        halves = np.stack([rng.permutation(count) < count // 2 for _ in range(SPLITS)])
        singles, products = kernel_sums(comparisons.kernels, groups)
        pairs = _drawn(groups.pairs()[None], drawn)[:, 0]
        means = _drawn(singles, drawn) / pairs[:, None]
        size = len(comparisons.kernels)
        squares = (_drawn(products, drawn) / pairs[:, None]).reshape(-1, size, size)
        covariances = squares - means[:, :, None] * means[:, None, :]
        between = comparisons.weights @ covariances @ comparisons.weights.T
        for name, spread in zip(comparisons.names, np.diagonal(between[0]), strict=True):
            if spread <= _CONSTANT:
                raise FinstError(f"target {name!r} is the same for all pairs of trials: nothing correlates with it")
        permuted = shuffles(comparisons.trials, permutations, rng)
        ordered = None if conditions is None else conditions[order]
        return cls(comparisons, order, ordered, permuted, groups, drawn, halves, pairs, means, between)


@dataclass(frozen=True, eq=False)
class Place:
    """The correlations at one place; all NaN where all its cosines are the same."""

    r: Float[np.ndarray, "comparison"]
    null: Float[np.ndarray, "permutation comparison"]
    """r after every permutation; the first one is the identity."""
    resampled: Float[np.ndarray, "resample comparison"]
    ceiling: tuple[float, float]
    """Lower and upper bound; NaN also without conditions."""


def place(activations: Activations, design: Design) -> Place:
    """The correlations of one place's activations.

    Raises FinstError for another number of trials than the design's, and as ``unit`` does.
    """
    comparisons, count = design.comparisons, design.pairs[0]
    if len(activations) != comparisons.trials:
        raise FinstError(f"targets are over {comparisons.trials} trials and activations over {len(activations)}")
    cosines = Cosines.of(activations[design.order])
    centre = float((cosines.total - comparisons.trials) / count)
    sums = cosine_sums(cosines, centre, comparisons.kernels, design.groups)
    moments = _drawn(sums, design.drawn) / design.pairs[:, None]
    spread = moments[:, 1] - moments[:, 0] ** 2
    cross = (moments[:, 2:] - moments[:, :1] * design.means) @ comparisons.weights.T
    r = comparisons.correlations(cross, spread, design.between)
    forms = design.shuffles.forms(cosines, comparisons.kernels)
    self_pairs = [kernel.similarity[kernel.labels, kernel.labels].sum() for kernel in comparisons.kernels]
    permuted = ((forms - self_pairs) / count - centre * design.means[0]) @ comparisons.weights.T
    null = comparisons.correlations(permuted, spread[:1], design.between[:1])
    bounds = (np.nan, np.nan)
    if spread[0] <= _rounding(cosines):
        r, null = np.full_like(r, np.nan), np.full_like(null, np.nan)
    elif design.conditions is not None:
        bounds = ceiling(cosines, design.conditions, design.groups, centre, sums[1], design.halves)
    return Place(r[0], null, r[1:], bounds)


def _rounding(cosines: Cosines) -> float:
    """The variance of cosines that rounding alone may produce."""
    return float((4 * np.finfo(cosines.vectors.dtype).eps) ** 2)


def _drawn(sums: Sums, drawn: Float[np.ndarray, "draw group"]) -> Float[np.ndarray, "draw value"]:
    """Sums over the pairs of trials in each draw."""
    return np.stack([np.einsum("dg,dg->d", drawn @ by_group, drawn) for by_group in sums], axis=1)
