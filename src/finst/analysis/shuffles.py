"""Permutations of trials against labels, and what they do to <cosine RSM, target RSM> without forming either.

A target RSM is made of inner products of label coordinates and a cosine RSM of those of vectors, so the sum of their
entries' products is the squared length of one sum: over trials, of coordinates times vector. ``forms`` includes each
trial's pair with itself, which no permutation changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from finst.analysis.cosines import Cosines
from finst.analysis.rsm import Kernel

SETS, TURNS = 16, 32

PLAIN = 1024
"""Up to so many trials permutations are plain ones."""

_CHUNK_BYTES = 1 << 27

Vectors = Float[np.ndarray, "trial dim"]
Orders = Int[np.ndarray, "permutation trial"]


@dataclass(frozen=True, eq=False)
class Plain:
    """Any permutations, one by one."""

    taken: Orders

    def orders(self) -> Orders:
        """Whose label each trial takes."""
        return self.taken

    def forms(self, cosines: Cosines, kernels: Sequence[Kernel]) -> Float[np.ndarray, "permutation kernel"]:
        """Sum over all pairs of trials of their cosine times their kernel after each permutation.

        In time permutations x trials x dims x labels.
        """
        return np.stack([self._form(cosines, kernel) for kernel in kernels], axis=1)

    def _form(self, cosines: Cosines, kernel: Kernel) -> Float[np.ndarray, "permutation"]:
        vectors = cosines.vectors
        total = 2 * _marginal(kernel)[self.taken] @ cosines.offsets
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
    """Trials dealt at random into rings, and rings into sets; a permutation turns each set's rings by a random step.

    The turns form a group of ``TURNS ** SETS`` permutations. What a set adds to the sums over labels takes only
    ``TURNS`` values, hence their inner products, formed once, give every permutation's form.
    """

    members: tuple[Int[np.ndarray, "_"], ...]
    """The trials of each set."""
    sources: tuple[Int[np.ndarray, "turn _"], ...]
    """After each turn, whose labels these take."""
    turns: Int[np.ndarray, "permutation set"]

    @classmethod
    def dealt(cls, trials: int, permutations: int, rng: np.random.Generator) -> Rings:
        """Rings of ``TURNS`` trials, and what remains in rings whose lengths divide that."""
        order = rng.permutation(trials)
        rings = list(_cut(order, TURNS))
        sets = [rings[first::SETS] for first in range(min(SETS, len(rings)))]
        turns = rng.integers(0, TURNS, (permutations + 1, len(sets)))
        turns[0] = 0
        return cls(
            tuple(np.concatenate(one) for one in sets),
            tuple(np.stack([np.concatenate([np.roll(r, t) for r in one]) for t in range(TURNS)]) for one in sets),
            turns,
        )

    def orders(self) -> Orders:
        """Whose label each trial takes."""
        taken = np.empty((len(self.turns), sum(map(len, self.members))), dtype=np.int64)
        for index, (members, sources) in enumerate(self._sets()):
            taken[:, members] = sources[self.turns[:, index]]
        return taken

    def forms(self, cosines: Cosines, kernels: Sequence[Kernel]) -> Float[np.ndarray, "permutation kernel"]:
        """As ``Plain.forms``, in time ``TURNS`` x trials x dims x labels, whatever the number of permutations."""
        return np.stack([self._form(cosines, kernel) for kernel in kernels], axis=1)

    def _form(self, cosines: Cosines, kernel: Kernel) -> Float[np.ndarray, "permutation"]:
        vectors = cosines.vectors
        chosen = np.eye(TURNS)[self.turns].reshape(len(self.turns), -1)
        marginal = _marginal(kernel)
        single = [marginal[sources] @ cosines.offsets[members] for members, sources in self._sets()]
        products = np.zeros((chosen.shape[1], chosen.shape[1]))
        for sign, coordinates in _coordinates(kernel):
            pieces = [
                _sums(coordinates.astype(vectors.dtype), kernel.labels[sources], vectors[members])
                for members, sources in self._sets()
            ]
            sums = np.concatenate(pieces)
            products += sign * (sums @ sums.T)
        return np.einsum("pk,pk->p", chosen @ products, chosen) + 2 * chosen @ np.concatenate(single)

    def _sets(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return zip(self.members, self.sources, strict=True)


Shuffles = Plain | Rings
"""Permutations of trials, the first of which leaves them as they are."""


def shuffles(trials: int, permutations: int, rng: np.random.Generator) -> Shuffles:
    """So many random permutations after the one that changes nothing: plain ones for few trials, else of rings.

    Either way the permutations are independent draws from a group, so a p value that counts the first one, too, holds
    its level exactly (Hemerik and Goeman 2018).
    """
    if trials <= PLAIN:
        drawn = [rng.permutation(trials) for _ in range(permutations)]
        return Plain(np.stack([np.arange(trials), *drawn]))
    return Rings.dealt(trials, permutations, rng)


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


def _marginal(kernel: Kernel) -> Float[np.ndarray, "trial"]:
    """Each trial's sum of similarities with all trials."""
    return (kernel.similarity @ np.bincount(kernel.labels, minlength=len(kernel.similarity)))[kernel.labels]


def _sums(
    coordinates: Float[np.ndarray, "label rank"], labels: Int[np.ndarray, "draw trial"], vectors: Vectors
) -> Float[np.ndarray, "draw entry"]:
    """For each draw of labels the sum over trials of coordinates x vector, rank by dim, as one row."""
    draws, trials = labels.shape
    weights = np.ascontiguousarray(coordinates.T[:, labels].transpose(1, 0, 2)).reshape(-1, trials)
    return (weights @ vectors).reshape(draws, -1)
