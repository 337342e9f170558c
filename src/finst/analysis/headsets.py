"""Sets of heads: the top K with their ties, and the random sets that they are compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from finst.errors import FinstError

Head = tuple[int, int]
"""(layer, head), counted from 0."""

Map = Float[np.ndarray, "layer head"]


@dataclass(frozen=True)
class TopK:
    """The ``k`` heads with the largest scores, and which of them are arbitrary."""

    heads: tuple[Head, ...]
    """Largest first."""
    cut: float
    """The k-th largest score, in the scores' unit; NaN when fewer heads have one."""
    tied: int
    """Heads whose score equals that at the cut within the tolerance, itself included: 1 without a tie."""
    tied_inside: int
    """How many of these are in the set, chosen at random."""
    above_noise: int | None
    """Heads above the noise in the whole map; None when not given."""

    @property
    def warning(self) -> str:
        """What makes this set arbitrary; empty when nothing does. Units of runs hold this text: keep it as it is."""
        reasons = []
        if self.tied > self.tied_inside:
            reasons.append(f"{self.tied} heads tie at the cut, {self.tied_inside} of them taken at random")
        if np.isnan(self.cut):
            reasons.insert(0, "fewer heads have a score than were asked for")
        if self.above_noise is not None and len(self.heads) > self.above_noise:
            reasons.append(f"only {self.above_noise} heads are above the noise, {len(self.heads)} were asked for")
        return "; ".join(reasons)


def top_k(
    scores: Map, k: int, *, tolerance: float = 0.0, above: Bool[np.ndarray, "layer head"] | None = None, seed: int = 0
) -> TopK:
    """The ``k`` heads with the largest scores.

    Scores within ``tolerance`` (the numerical noise, in the scores' unit) of the k-th largest are tied; ``seed``
    decides which of them are taken. Heads without a score (NaN) are tied below all others. ``above`` marks the heads
    above the noise. Raises FinstError when the map does not have that many heads.
    """
    _check(scores.shape, k)
    flat = np.where(np.isnan(scores), -np.inf, scores).ravel()
    cut = float(np.sort(flat)[-k])
    shuffled = np.random.default_rng(seed).permutation(flat.size)
    level = np.where(abs(flat - cut) <= tolerance, cut, flat) if np.isfinite(cut) else flat
    places = shuffled[np.argsort(-level[shuffled], kind="stable")][:k]
    ties = level == cut
    heads = _heads(places, scores.shape[1])
    noise = None if above is None else int(above.sum())
    return TopK(heads, cut if np.isfinite(cut) else float("nan"), int(ties.sum()), int(ties[places].sum()), noise)


def largest_k(heads: int) -> int:
    """The largest set of heads that is compared with others: half of all, so that as many lie outside of it."""
    return heads // 2


def random_k(shape: tuple[int, int], outside: Sequence[Head], *, seed: int = 0) -> tuple[Head, ...]:
    """As many heads as ``outside`` has, none of them in it; all such sets of a model of (layers, heads) equally likely.

    Raises FinstError when fewer are left.
    """
    order = _heads(np.random.default_rng(seed).permutation(int(np.prod(shape))), shape[1])
    others = [head for head in order if head not in outside]
    _check_left(len(others), len(outside))
    return tuple(others[: len(outside)])


def layer_matched_random_k(shape: tuple[int, int], outside: Sequence[Head], *, seed: int = 0) -> tuple[Head, ...]:
    """Random heads, none of them in ``outside`` and as many in every layer as ``outside`` has there.

    Where a layer has too few others, all of them are taken, and the rest is drawn from the others of the nearest layers
    (of two equally near ones at random): ``displaced`` counts these. Raises FinstError when fewer are left in the model
    of (layers, heads).
    """
    layers, heads = shape
    rng = np.random.default_rng(seed)
    wanted = Counter(layer for layer, _ in outside)
    free: dict[int, list[Head]] = {}
    for layer in (*sorted(wanted), *(layer for layer in range(layers) if layer not in wanted)):
        others = [head for head in range(heads) if (layer, head) not in outside]
        free[layer] = [(layer, head) for head in rng.permutation(others).tolist()]
        rng.permutation(wanted[layer])  # so that seeds draw what they drew in stored runs
    _check_left(sum(map(len, free.values())), len(outside))
    drawn = [head for layer in sorted(wanted) for head in _taken(free[layer], wanted[layer])]
    for layer in sorted((wanted - Counter(layer for layer, _ in drawn)).elements()):
        near = min((at for at in range(layers) if free[at]), key=lambda at: (abs(at - layer), rng.random()))
        drawn += _taken(free[near], 1)
    return tuple(drawn)


def displaced(matched: Sequence[Head], outside: Sequence[Head]) -> int:
    """How many of ``matched`` lie in another layer than a head of ``outside`` that they stand for."""
    return sum((Counter(layer for layer, _ in matched) - Counter(layer for layer, _ in outside)).values())


def _taken(pool: list[Head], count: int) -> list[Head]:
    """The first ``count`` heads, which leave the pool."""
    taken, pool[:] = pool[:count], pool[count:]
    return taken


def _heads(places: np.ndarray, heads: int) -> tuple[Head, ...]:
    return tuple((int(place) // heads, int(place) % heads) for place in places)


def _check(shape: tuple[int, ...], k: int) -> None:
    count = int(np.prod(shape))
    if not 1 <= k <= count:
        raise FinstError(f"a map of {count} heads has sets of 1 to {count}, not of {k}")


def _check_left(left: int, k: int) -> None:
    if left < k:
        raise FinstError(f"{left} heads are outside a set of {k}: expected as many, so at most half of all in the set")
