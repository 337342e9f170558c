"""Permutations of trials against labels, and what they do to <cosine RSM, target RSM> without forming either.

A target is a quadratic form of label coordinates, and so is a cosine RSM of unit vectors; their inner product is that
of sums of vectors over labels. ``forms`` includes each trial's pair with itself, which no permutation changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from finst.analysis.rsm import Kernel

SETS, TURNS = 16, 32

PLAIN = 1024
"""Up to so many trials permutations are plain ones."""

_CHUNK_BYTES = 1 << 27

Vectors = Float[np.ndarray, "trial dim"]
Orders = Int[np.ndarray, "permutation trial"]


class Shuffles(Protocol):
    """Permutations of trials, the first of which leaves them as they are."""

    def orders(self) -> Orders:
        """Whose label each trial takes."""
        ...

    def forms(self, vectors: Vectors, kernels: Sequence[Kernel]) -> Float[np.ndarray, "permutation kernel"]:
        """Sum over all pairs of trials of <v_i, v_j> times their kernel after each permutation."""
        ...


def shuffles(trials: int, permutations: int, rng: np.random.Generator) -> Shuffles:
    """So many random permutations after the one that changes nothing: plain ones for few trials, else of rings.

    Either way the permutations are independent draws from a group, so a p value that counts the first one, too, holds
    its level exactly (Hemerik and Goeman 2018, theorem 2).
    """
    if trials <= PLAIN:
        drawn = [rng.permutation(trials) for _ in range(permutations)]
        return Plain(np.stack([np.arange(trials), *drawn]))
    return Rings.dealt(trials, permutations, rng)


@dataclass(frozen=True, eq=False)
class Plain:
    """Any permutations, one by one."""

    taken: Orders

    def orders(self) -> Orders:
        """As given."""
        return self.taken

    def forms(self, vectors: Vectors, kernels: Sequence[Kernel]) -> Float[np.ndarray, "permutation kernel"]:
        """In time permutations x trials x dims x labels."""
        return np.stack([self._form(vectors, kernel) for kernel in kernels], axis=1)

    def _form(self, vectors: Vectors, kernel: Kernel) -> Float[np.ndarray, "permutation"]:
        total = np.zeros(len(self.taken))
        for sign, coordinates in _coordinates(kernel):
            rank = coordinates.shape[1]
            step = max(1, _CHUNK_BYTES // (vectors.itemsize * rank * sum(vectors.shape)))
            for start in range(0, len(self.taken), step):
                labels = kernel.labels[self.taken[start : start + step]]
                sums = _sums(coordinates.astype(vectors.dtype), labels, vectors)
                total[start : start + step] += sign * np.einsum("pd,pd->p", sums, sums, dtype=np.float64)
        return total


@dataclass(frozen=True, eq=False)
class Rings:
    """Trials dealt at random into rings, and rings into sets; each permutation turns every set's rings by a random step.

    The turns form a group of ``TURNS ** SETS`` permutations. What a set adds to the sums over labels takes only
    ``TURNS`` values, hence their inner products, formed once, give every permutation's form.
    """

    members: tuple[Int[np.ndarray, "trial"], ...]
    """The trials of each set."""
    sources: tuple[Int[np.ndarray, "turn trial"], ...]
    """After each turn, whose labels these take."""
    turns: Int[np.ndarray, "permutation set"]

    @classmethod
    def dealt(cls, trials: int, permutations: int, rng: np.random.Generator) -> Rings:
        """Rings of ``TURNS`` trials, and what remains in rings whose lengths divide that."""
        order = rng.permutation(trials)
        rings = list(_cut(order, TURNS))
        sets = [rings[first::SETS] for first in range(SETS)]
        turns = rng.integers(0, TURNS, (permutations + 1, SETS))
        turns[0] = 0
        return cls(
            tuple(np.concatenate(one) for one in sets),
            tuple(np.stack([np.concatenate([np.roll(r, t) for r in one]) for t in range(TURNS)]) for one in sets),
            turns,
        )

    def orders(self) -> Orders:
        """Written out."""
        taken = np.empty((len(self.turns), sum(map(len, self.members))), dtype=np.int64)
        for index, (members, sources) in enumerate(zip(self.members, self.sources, strict=True)):
            taken[:, members] = sources[self.turns[:, index]]
        return taken

    def forms(self, vectors: Vectors, kernels: Sequence[Kernel]) -> Float[np.ndarray, "permutation kernel"]:
        """In time ``TURNS`` x trials x dims x labels, whatever the number of permutations."""
        return np.stack([self._form(vectors, kernel) for kernel in kernels], axis=1)

    def _form(self, vectors: Vectors, kernel: Kernel) -> Float[np.ndarray, "permutation"]:
        places = self.turns + TURNS * np.arange(SETS)
        products = np.zeros((SETS * TURNS, SETS * TURNS))
        for sign, coordinates in _coordinates(kernel):
            pieces = [
                _sums(coordinates.astype(vectors.dtype), kernel.labels[sources], vectors[members])
                for members, sources in zip(self.members, self.sources, strict=True)
            ]
            sums = np.concatenate(pieces)
            products += sign * (sums @ sums.T)
        return np.array([products[np.ix_(at, at)].sum() for at in places])


def _cut(order: Int[np.ndarray, "trial"], length: int) -> Iterator[Int[np.ndarray, "ring"]]:
    """Pieces of ``length``, then ever shorter ones by halves."""
    while len(order):
        while length > len(order):
            length //= 2
        yield order[:length]
        order = order[length:]


def _coordinates(kernel: Kernel) -> list[tuple[int, Float[np.ndarray, "label rank"]]]:
    """Coordinates of labels whose inner products, with their signs, add up to the kernel's similarity."""
    values, axes = np.linalg.eigh(kernel.similarity)
    least = np.finfo(np.float64).eps * abs(values).max() * len(values)
    parts = [(sign, sign * values > least) for sign in (1, -1)]
    return [(sign, axes[:, kept] * np.sqrt(abs(values[kept]))) for sign, kept in parts if kept.any()]


def _sums(
    coordinates: Float[np.ndarray, "label rank"], labels: Int[np.ndarray, "draw trial"], vectors: Vectors
) -> Float[np.ndarray, "draw entry"]:
    """For each draw of labels the sum over trials of coordinates x vector, rank by dim, as one row."""
    draws, trials = labels.shape
    weights = np.ascontiguousarray(coordinates.T[:, labels].transpose(1, 0, 2)).reshape(-1, trials)
    return (weights @ vectors).reshape(draws, -1)
