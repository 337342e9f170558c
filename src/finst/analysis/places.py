"""One place of an RSA: its correlations as they are, after every permutation and in every resample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from finst.analysis.ceiling import SPLITS, ceiling
from finst.analysis.comparisons import Question
from finst.analysis.cosines import Cosines
from finst.analysis.pairs import Groups, Sums, cosine_sums, kernel_sums
from finst.analysis.rsm import Activations
from finst.analysis.shuffles import Shuffles, shuffles
from finst.errors import FinstError

_CONSTANT = 1e-12
"""Variance of a target over pairs that is none."""


@dataclass(frozen=True, eq=False)
class Design:
    """What all places share: permutations, resamples, halves, and the targets' own sums; trials in random order."""

    question: Question
    order: Int[np.ndarray, "trial"]
    conditions: Int[np.ndarray, "trial"] | None
    shuffles: Shuffles
    groups: Groups
    drawn: Float[np.ndarray, "draw group"]
    """How often a resample has each group; the first draw is the data as they are."""
    halves: Bool[np.ndarray, "split group"]
    pairs: Float[np.ndarray, "draw"]
    """Pairs of different trials in each draw."""
    means: Float[np.ndarray, "draw kernel"]
    between: Float[np.ndarray, "draw target target"]
    """Covariances of targets over pairs."""

    @classmethod
    def of(
        cls,
        question: Question,
        conditions: Int[np.ndarray, "trial"] | None,
        permutations: int,
        resamples: int,
        rng: np.random.Generator,
    ) -> Design:
        """Raises FinstError for a target that is the same for all pairs."""
        order = rng.permutation(question.trials)
        question = question.ordered(order)
        groups = Groups.of(question.trials)
        count = len(groups.starts)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        drawn = np.concatenate([np.ones((1, count)), drawn])
        halves = np.stack([rng.permutation(count) < count // 2 for _ in range(SPLITS)])
        singles, products = kernel_sums(question.kernels, groups)
        pairs = _drawn(groups.pairs()[None], drawn)[:, 0]
        means = _drawn(singles, drawn) / pairs[:, None]
        size = len(question.kernels)
        squares = (_drawn(products, drawn) / pairs[:, None]).reshape(-1, size, size)
        between = question.weights @ (squares - means[:, :, None] * means[:, None, :]) @ question.weights.T
        for name, spread in zip(question.names, np.diagonal(between[0]), strict=True):
            if spread <= _CONSTANT:
                raise FinstError(f"target {name!r} is the same for all pairs of trials: nothing correlates with it")
        moved = shuffles(question.trials, permutations, rng)
        placed = None if conditions is None else conditions[order]
        return cls(question, order, placed, moved, groups, drawn, halves, pairs, means, between)


@dataclass(frozen=True, eq=False)
class Place:
    """Correlations at one place; all NaN where all its cosines are the same."""

    r: Float[np.ndarray, "comparison"]
    null: Float[np.ndarray, "permutation comparison"]
    """After every permutation; the first one changes nothing."""
    resampled: Float[np.ndarray, "resample comparison"]
    ceiling: tuple[float, float]
    """NaN without conditions, too."""


def place(activations: Activations, design: Design) -> Place:
    """Raises FinstError for another number of trials than the design's, and as ``unit`` does."""
    question, count = design.question, design.pairs[0]
    if len(activations) != question.trials:
        raise FinstError(f"targets are over {question.trials} trials and activations over {len(activations)}")
    cosines = Cosines.of(activations[design.order])
    centre = float((cosines.total - question.trials) / count)
    sums = cosine_sums(cosines, centre, question.kernels, design.groups)
    moments = _drawn(sums, design.drawn) / design.pairs[:, None]
    spread = moments[:, 1] - moments[:, 0] ** 2
    cross = (moments[:, 2:] - moments[:, :1] * design.means) @ question.weights.T
    found = question.correlations(cross, spread, design.between)
    forms = design.shuffles.forms(cosines, question.kernels)
    own = [kernel.similarity[kernel.labels, kernel.labels].sum() for kernel in question.kernels]
    crossed = ((forms - own) / count - centre * design.means[0]) @ question.weights.T
    null = question.correlations(crossed, spread[:1], design.between[:1])
    bounds = (np.nan, np.nan)
    if spread[0] <= _rounding(cosines):
        found, null = np.full_like(found, np.nan), np.full_like(null, np.nan)
    elif design.conditions is not None:
        bounds = ceiling(cosines, design.conditions, design.groups, centre, sums[1], design.halves)
    return Place(found[0], null, found[1:], bounds)


def _rounding(cosines: Cosines) -> float:
    """The variance of cosines that rounding alone may give."""
    return float((4 * np.finfo(cosines.vectors.dtype).eps) ** 2)


def _drawn(sums: Sums, drawn: Float[np.ndarray, "draw group"]) -> Float[np.ndarray, "draw value"]:
    return np.stack([np.einsum("dg,dg->d", drawn @ one, drawn) for one in sums], axis=1)
