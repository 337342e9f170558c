"""Attention heads by what they do: what a query matches in a key, and what is then carried where.

Of a score q.k / sqrt(d_head) every coordinate pair (j, j + d_head/2) is one term that rotary positions turn by
frequency_j times the distance between the two tokens. Pairs that turn fast compare positions. Those that hardly turn at
all, the steady ones, compare contents.
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
    """Which coordinate pair: its frequency and its axis (time, height or width)."""
    phase: float = 0.0


@dataclass(frozen=True, eq=False)
class Head:
    """Softmax over the summed ``terms``; then the sum of (reading, written column) pairs of the attended tokens."""

    terms: Sequence[Match | Turn]
    reads: Rows
    writes: Float[np.ndarray, "row d_model"]


@dataclass(frozen=True, eq=False)
class Rotary:
    """Which coordinate pairs of a head serve for contents."""

    d_head: int
    steady: Sequence[int] = field(default=())
    """Pairs that hardly turn; each has room for two contents."""

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
    """The weights that make a head do what it says."""
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
