"""Attention heads defined by their function: what a query matches in a key, and what is copied where.

Each coordinate pair (j, j + d_head/2) contributes a term to the score q.k / sqrt(d_head), which the rotary embedding
turns by frequency_j times the distance between the two tokens. Pairs that turn fast compare positions. The steady
pairs, which hardly turn, compare contents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from finst.builtin.planted.space import Rows

Row = Float[np.ndarray, "coordinate"]


@dataclass(frozen=True, eq=False)
class Match:
    """Adds gain * (query reading) * (key reading) to a score, whatever the distance."""

    query: Row
    key: Row
    gain: float


@dataclass(frozen=True, eq=False)
class Turn:
    """Adds gain * (query reading) * (key reading) * cos(frequency * (query position - key position) + phase)."""

    query: Row
    key: Row
    gain: float
    pair: int
    """Index of the coordinate pair, which determines its frequency and axis (time, height or width)."""
    phase: float = 0.0


@dataclass(frozen=True, eq=False)
class Head:
    """Softmax over the summed ``terms``; each reading of the attended tokens is written along its column."""

    terms: Sequence[Match | Turn]
    reads: Rows
    writes: Float[np.ndarray, "row d_model"]


@dataclass(frozen=True, eq=False)
class Rotary:
    """The coordinate pairs of a head that compare contents."""

    d_head: int
    steady: Sequence[int] = field(default=())
    """Pairs that hardly turn; each takes two contents."""

    @property
    def slots(self) -> tuple[int, ...]:
        """Coordinates for contents, in the order of their pairs."""
        return tuple(slot for pair in self.steady for slot in (pair, pair + self.d_head // 2))


@dataclass(frozen=True, eq=False)
class Matrices:
    """A head's weights; ``q``, ``k`` and ``v`` end with a column of biases."""

    q: Float[np.ndarray, "d_head coordinate"]
    k: Float[np.ndarray, "d_head coordinate"]
    v: Float[np.ndarray, "d_head coordinate"]
    o: Float[np.ndarray, "d_model d_head"]


def matrices(head: Head, rotary: Rotary) -> Matrices:
    """The weights of a head with this function."""
    width = head.reads.shape[1]
    q, k, v = (np.zeros((rotary.d_head, width)) for _ in range(3))
    o = np.zeros((head.writes.shape[1], rotary.d_head))
    slots, scale = iter(rotary.slots), np.sqrt(rotary.d_head)
    for term in head.terms:
        if isinstance(term, Match):
            slot = next(slots)
            q[slot], k[slot] = scale * term.gain * term.query, term.key
        else:
            other = term.pair + rotary.d_head // 2
            q[term.pair] += scale * term.gain * np.cos(term.phase) * term.query
            q[other] += scale * term.gain * np.sin(term.phase) * term.query
            k[term.pair] += term.key
    v[: len(head.reads)] = head.reads
    o[:, : len(head.writes)] = head.writes.T
    return Matrices(q, k, v, o)
