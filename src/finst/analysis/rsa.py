"""Representational similarity analysis: how well target RSMs explain those of activations (Figs 1c, 2, 6, 7, 14-36).

One place is one [trial, d_model] array, such as a layer at a token role; many places share trials and targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from finst.analysis.ranks import average_ranks
from finst.analysis.rsm import Activations, Target, cosine_rsm, entries
from finst.errors import FinstError, choice

PERMUTATIONS = 1_000
RESAMPLES = 1_000


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
    """Pearson correlations of cosine RSMs with target RSMs, over pairs of different trials."""

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
    """What the best target that depends on the conditions alone would reach; NaN without conditions."""


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
    noise ceiling is for. Precision is that of ``unit``.
    """
    wanted = tuple(comparisons or map(Comparison, targets))
    for name in {name for one in wanted for name in (one.target, one.given) if name}:
        if name not in targets:
            raise choice("target", name, targets)
    rng = np.random.default_rng(seed)
    dense = {name: target.matrix() for name, target in targets.items()}
    observed, permuted, resampled = [], [], []
    trials = next(iter(targets.values())).trials
    orders = [rng.permutation(trials) for _ in range(permutations)]
    draws = [rng.integers(0, trials, trials) for _ in range(resamples)]
    for place in activations:
        if len(place) != trials:
            raise FinstError(f"targets are over {trials} trials and activations over {len(place)}")
        rsm = cosine_rsm(place)
        observed.append(_compared(entries(rsm), {k: entries(t) for k, t in dense.items()}, wanted))
        permuted.append(
            [_compared(entries(rsm[np.ix_(o, o)]), {k: entries(t) for k, t in dense.items()}, wanted) for o in orders]
        )
        resampled.append([_resampled(rsm, dense, wanted, drawn) for drawn in draws])
    r, null, spread = np.array(observed), np.array(permuted), np.array(resampled)
    low, high = np.quantile(spread, [0.5 - confidence / 2, 0.5 + confidence / 2], axis=1)
    unknown = np.full(len(r), np.nan)
    p = ((null >= r[:, None]).sum(axis=1) + 1) / (permutations + 1)
    p_fwer = ((null.max(axis=0) >= r[:, None]).sum(axis=1) + 1) / (permutations + 1)
    return RSA(wanted, r, p, p_fwer, low, high, unknown, unknown)


def spearman(activations: Activations, targets: Mapping[str, Target]) -> Float[np.ndarray, "target"]:
    """Rank correlations of the cosine RSM with every target, exact: holds and sorts all trials^2 / 2 pairs."""
    ranks = average_ranks(entries(cosine_rsm(activations)))
    return np.array([np.corrcoef(ranks, average_ranks(entries(t.matrix())))[0, 1] for t in targets.values()])


def _resampled(
    rsm: np.ndarray, dense: Mapping[str, np.ndarray], wanted: Sequence[Comparison], drawn: np.ndarray
) -> list[float]:
    first, second = np.triu_indices(len(drawn), 1)
    first, second = drawn[first], drawn[second]
    apart = first != second
    at = (first[apart], second[apart])
    return _compared(rsm[at], {name: target[at] for name, target in dense.items()}, wanted)


def _compared(values: np.ndarray, targets: Mapping[str, np.ndarray], wanted: Sequence[Comparison]) -> list[float]:
    return [_correlation(values, targets, one) for one in wanted]


def _correlation(values: np.ndarray, targets: Mapping[str, np.ndarray], one: Comparison) -> float:
    if not one.given:
        return float(np.corrcoef(values, targets[one.target])[0, 1])
    (_, r, held), (_, _, shared), _ = np.corrcoef([values, targets[one.target], targets[one.given]])
    return float((r - held * shared) / np.sqrt((1 - held**2) * (1 - shared**2)))
