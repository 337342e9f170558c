"""Sets of heads: the top K with their ties, and the random sets that they are compared with."""

from __future__ import annotations

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


def random_k(layers: int, heads: int, k: int, *, seed: int = 0) -> tuple[Head, ...]:
    """``k`` different heads of a model, all sets equally likely. Raises FinstError when it does not have that many."""
    _check((layers, heads), k)
    return _heads(np.random.default_rng(seed).permutation(layers * heads)[:k], heads)


def layer_matched_random_k(chosen: Sequence[Head], heads: int, *, seed: int = 0) -> tuple[Head, ...]:
    """Random heads, as many in every layer as ``chosen`` has there, drawn from the layer's other heads.

    Where a layer has too few other heads, all of them are taken, and the rest is drawn from ``chosen``.
    """
    rng = np.random.default_rng(seed)
    drawn: list[Head] = []
    for layer in sorted({layer for layer, _ in chosen}):
        taken = [head for at, head in chosen if at == layer]
        others = rng.permutation([head for head in range(heads) if head not in taken]).tolist()
        pool = [*others, *rng.permutation(taken).tolist()]
        drawn += [(layer, int(head)) for head in pool[: len(taken)]]
    return tuple(drawn)


def _heads(places: np.ndarray, heads: int) -> tuple[Head, ...]:
    return tuple((int(place) // heads, int(place) % heads) for place in places)


def _check(shape: tuple[int, ...], k: int) -> None:
    count = int(np.prod(shape))
    if not 1 <= k <= count:
        raise FinstError(f"a map of {count} heads has sets of 1 to {count}, not of {k}")
