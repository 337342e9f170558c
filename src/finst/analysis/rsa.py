"""Representational similarity analysis: how well target RSMs explain those of activations (Figs 1c, 2, 6, 7, 14-36).

One place is one [trial, d_model] array, such as a layer at a token role; many places share trials and targets. No RSM
is kept: see ``shuffles`` for permutations, ``pairs`` for correlations and bootstrap, ``ceiling`` for the noise ceiling.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from finst.analysis.ceiling import ceiling
from finst.analysis.pairs import Groups, cosine_sums, kernel_sums
from finst.analysis.ranks import average_ranks
from finst.analysis.rsm import Activations, Kernel, Target, cosine_rsm, entries, unit
from finst.analysis.shuffles import Shuffles, shuffles
from finst.analysis.statistics import tails
from finst.errors import FinstError, choice

PERMUTATIONS = 1_000
RESAMPLES = 1_000

_TIE = 1e-6
"""Correlations that differ by less are equal: the same sum in another order, in float32."""

_CONSTANT = 1e-12
"""Variance of a target over pairs that is none."""


@dataclass(frozen=True)
class Comparison:
    """Activations with one target, by itself or with another one held constant."""

    target: str
    given: str = ""
    """Of the partial correlation; empty for the plain one."""

    @property
    def name(self) -> str:
        """Such as ``position`` or ``position | features``."""
        return f"{self.target} | {self.given}" if self.given else self.target


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
    question = _Question.of(targets, tuple(comparisons or map(Comparison, targets)))
    rng = np.random.default_rng(seed)
    design = _Design.of(question, permutations, resamples, rng)
    labels = None if conditions is None else np.unique(conditions, return_inverse=True)[1]
    found = [_place(place, question, design, labels, np.random.default_rng(seed)) for place in activations]
    if not found:
        raise FinstError("an RSA needs activations of at least 1 place")
    observed, null, resampled, ceilings = (np.stack(parts) for parts in zip(*found, strict=True))
    known, reached = np.nan_to_num(null, nan=-np.inf), np.nan_to_num(null[:, :1], nan=np.inf) - _TIE
    low, high = np.quantile(resampled, tails(confidence), axis=1)
    p = np.where(np.isnan(observed), 1.0, (known >= reached).mean(axis=1))
    p_fwer = np.where(np.isnan(observed), 1.0, (known.max(axis=0) >= reached).mean(axis=1))
    return RSA(question.comparisons, observed, p, p_fwer, low, high, ceilings[:, 0], ceilings[:, 1])


def spearman(activations: Activations, targets: Mapping[str, Target]) -> Float[np.ndarray, "target"]:
    """Rank correlations of the cosine RSM with every target, exact: holds and sorts all trials^2 / 2 pairs.

    For a look beside Pearson's r at few places, without p: at 4,050 trials a place takes seconds and 0.5 GB.
    """
    ranks = average_ranks(entries(cosine_rsm(activations)))
    return np.array([np.corrcoef(ranks, average_ranks(entries(t.matrix())))[0, 1] for t in targets.values()])


@dataclass(frozen=True, eq=False)
class _Question:
    """Targets as weights of the kernels that they share."""

    comparisons: tuple[Comparison, ...]
    names: tuple[str, ...]
    """Of the targets."""
    kernels: tuple[Kernel, ...]
    weights: Float[np.ndarray, "target kernel"]
    target: tuple[int, ...]
    given: tuple[int, ...]
    """Of each comparison, as rows of ``weights``; -1 for a plain correlation."""
    trials: int

    @classmethod
    def of(cls, targets: Mapping[str, Target], comparisons: tuple[Comparison, ...]) -> _Question:
        names = list(targets)
        for name in [name for one in comparisons for name in (one.target, one.given) if name]:
            if name not in targets:
                raise choice("target", name, names)
        kernels = tuple(dict.fromkeys(kernel for target in targets.values() for kernel in target.kernels))
        weights = np.zeros((len(names), len(kernels)))
        for row, target in enumerate(targets.values()):
            for weight, kernel in zip(target.weights, target.kernels, strict=True):
                weights[row, kernels.index(kernel)] += weight
        sizes = {len(kernel.labels) for kernel in kernels}
        if len(sizes) != 1 or min(sizes) < 3:
            raise FinstError(f"targets are over {sorted(sizes)} trials: expected one number of at least 3")
        return cls(
            comparisons,
            tuple(names),
            kernels,
            weights,
            tuple(names.index(one.target) for one in comparisons),
            tuple(names.index(one.given) if one.given else -1 for one in comparisons),
            sizes.pop(),
        )

    def correlations(
        self,
        cross: Float[np.ndarray, "draw target"],
        spread: Float[np.ndarray, "draw"],
        between: Float[np.ndarray, "draw target target"],
    ) -> Float[np.ndarray, "draw comparison"]:
        """From covariances: of the RSM with targets, of itself, and among targets."""
        found = []
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may have no variation: NaN
            scale = np.sqrt(np.einsum("dtt->dt", between))
            plain = cross / (scale * np.sqrt(spread)[:, None])
            shared = between / (scale[:, :, None] * scale[:, None, :])
            for target, given in zip(self.target, self.given, strict=True):
                r = plain[:, target]
                if given >= 0:
                    held, common = plain[:, given], shared[:, target, given]
                    r = (r - held * common) / np.sqrt((1 - held**2) * (1 - common**2))
                found.append(r)
        return np.stack(found, axis=1)


@dataclass(frozen=True, eq=False)
class _Design:
    """What all places share: permutations, resamples, and the targets' own sums."""

    permutations: int
    shuffles: Shuffles
    groups: Groups
    drawn: Float[np.ndarray, "draw group"]
    """How often a resample has each group; the first draw is the data as they are."""
    pairs: Float[np.ndarray, "draw"]
    """Pairs of different trials in each draw."""
    means: Float[np.ndarray, "draw kernel"]
    between: Float[np.ndarray, "draw target target"]
    own: Float[np.ndarray, "kernel"]
    """Sum of each kernel over the trials' pairs with themselves."""

    @classmethod
    def of(cls, question: _Question, permutations: int, resamples: int, rng: np.random.Generator) -> _Design:
        groups = Groups.dealt(question.trials, rng)
        count = len(groups.starts)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        drawn = np.concatenate([np.ones((1, count)), drawn])
        singles, products = kernel_sums(question.kernels, groups)
        pairs = _drawn(groups.pairs()[None], drawn)[:, 0]
        means = _drawn(singles, drawn) / pairs[:, None]
        size = len(question.kernels)
        squares = (_drawn(products, drawn) / pairs[:, None]).reshape(-1, size, size)
        between = question.weights @ (squares - means[:, :, None] * means[:, None, :]) @ question.weights.T
        for name, spread in zip(question.names, np.diagonal(between[0]), strict=True):
            if spread <= _CONSTANT:
                raise FinstError(f"target {name!r} is the same for all pairs of trials: nothing correlates with it")
        own = np.array([np.diagonal(kernel.similarity)[kernel.labels].sum() for kernel in question.kernels])
        moves = shuffles(question.trials, permutations, rng)
        return cls(permutations, moves, groups, drawn, pairs, means, between, own)


def _drawn(sums: Float[np.ndarray, "value group group"], drawn: np.ndarray) -> Float[np.ndarray, "draw value"]:
    return np.stack([np.einsum("dg,dg->d", drawn @ one, drawn) for one in sums], axis=1)


def _place(
    activations: Activations, question: _Question, design: _Design, labels: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """r, r of every permutation (the first changes nothing), of every resample, and the ceiling."""
    if len(activations) != question.trials:
        raise FinstError(f"targets are over {question.trials} trials and activations over {len(activations)}")
    vectors = _compact(unit(activations))
    count = design.pairs[0]
    total = vectors.sum(axis=0, dtype=np.float64)
    centre = float((total @ total - len(vectors)) / count)
    sums = cosine_sums(vectors, centre, question.kernels, design.groups)
    moments = _drawn(sums, design.drawn) / design.pairs[:, None]
    spread = moments[:, 1] - moments[:, 0] ** 2
    if spread[0] <= (4 * np.finfo(vectors.dtype).eps) ** 2:
        size = len(question.comparisons)
        shapes = ((size,), (design.permutations + 1, size), (len(spread) - 1, size), (2,))
        r, null, resampled, bounds = (np.full(shape, np.nan) for shape in shapes)
        return r, null, resampled, bounds
    cross = (moments[:, 2:] - moments[:, :1] * design.means) @ question.weights.T
    found = question.correlations(cross, spread, design.between)
    forms = (design.shuffles.forms(vectors, question.kernels) - design.own) / count - centre * design.means[0]
    forms = forms @ question.weights.T
    repeated = np.ones(len(forms))
    null = question.correlations(forms, spread[0] * repeated, design.between[0] * repeated[:, None, None])
    bounds = (np.nan, np.nan) if labels is None else ceiling(vectors, labels, design.groups, centre, sums[1], rng)
    return found[0], null, found[1:], np.array(bounds)


def _compact(vectors: Float[np.ndarray, "trial d_model"]) -> Float[np.ndarray, "trial dim"]:
    """Vectors with the same inner products and no more dims than trials."""
    return vectors if vectors.shape[1] <= len(vectors) else np.linalg.qr(vectors.T, mode="r").T
