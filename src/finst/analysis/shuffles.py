"""Permutations of trials against labels, and the product <cosine RSM, target RSM> after each, without either matrix.

Entries of a target RSM are inner products of label coordinates, and entries of a cosine RSM are inner products of
vectors. The sum of their products is therefore the squared length of one sum over trials, of coordinates times vector.
``forms`` includes each trial's pair with itself, which no permutation changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from finst.analysis.cosines import Cosines
from finst.analysis.rsm import Kernel

SETS, TURNS = 16, 32
"""Sets of rings, and positions of a ring."""

PLAIN = 1024
"""The largest number of trials with unrestricted permutations."""

_CHUNK_BYTES = 1 << 27

Vectors = Float[np.ndarray, "trial dim"]
Orders = Int[np.ndarray, "permutation trial"]


@dataclass(frozen=True, eq=False)
class Plain:
    """Unrestricted permutations, one by one."""

    taken: Orders
    """The trial whose label each trial takes."""

    def orders(self) -> Orders:
        """The trial whose label each trial takes."""
        return self.taken

    def forms(self, cosines: Cosines, kernels: Sequence[Kernel]) -> Float[np.ndarray, "permutation kernel"]:
        """Sum over all pairs of trials of their cosine times their kernel after each permutation.

        Takes time proportional to permutations x trials x dims x labels.
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
    """Permutations that rotate rings: trials are in random rings, rings in sets, and each set turns by a random step.

    The turns form a group of ``TURNS ** SETS`` permutations. A set contributes only ``TURNS`` different values to the
    sums over labels, so the inner products of these values, computed once, give the form of every permutation.
    """

    members: tuple[Int[np.ndarray, "_"], ...]
    """The trials of each set."""
    sources: tuple[Int[np.ndarray, "turn _"], ...]
    """After each turn, the trials whose labels these take."""
    turns: Int[np.ndarray, "permutation set"]
    """The step of each set in each permutation."""

    @classmethod
    def random(cls, trials: int, permutations: int, rng: np.random.Generator) -> Rings:
        """Random rings of ``TURNS`` trials, and the remaining trials in rings whose lengths divide ``TURNS``."""
        order = rng.permutation(trials)
        rings = list(_cut(order, TURNS))
        sets = [rings[first::SETS] for first in range(min(SETS, len(rings)))]
        turns = rng.integers(0, TURNS, (permutations + 1, len(sets)))
        turns[0] = 0
        return cls(
            tuple(np.concatenate(rings) for rings in sets),
            tuple(np.stack([_rolled(rings, turn) for turn in range(TURNS)]) for rings in sets),
            turns,
        )

    def orders(self) -> Orders:
        """The trial whose label each trial takes."""
        taken = np.empty((len(self.turns), sum(map(len, self.members))), dtype=np.int64)
        for index, (members, sources) in enumerate(self._sets()):
            taken[:, members] = sources[self.turns[:, index]]
        return taken

    def forms(self, cosines: Cosines, kernels: Sequence[Kernel]) -> Float[np.ndarray, "permutation kernel"]:
        """The sums of ``Plain.forms``, in time ``TURNS`` x trials x dims x labels for any number of permutations."""
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
"""Permutations of trials; the first one is the identity."""


def shuffles(trials: int, permutations: int, rng: np.random.Generator) -> Shuffles:
    """The identity and ``permutations`` random permutations: unrestricted for few trials, otherwise of rings.

    In both cases the permutations are independent draws from a group, so a p value that counts the identity as well
    keeps its level exactly (Hemerik and Goeman 2018).
    """
    if trials <= PLAIN:
        drawn = [rng.permutation(trials) for _ in range(permutations)]
        return Plain(np.stack([np.arange(trials), *drawn]))
    return Rings.random(trials, permutations, rng)


def _rolled(rings: Sequence[np.ndarray], turn: int) -> np.ndarray:
    """All rings of a set, each rotated by ``turn``."""
    return np.concatenate([np.roll(ring, turn) for ring in rings])


def _cut(order: Int[np.ndarray, "trial"], length: int) -> Iterator[Int[np.ndarray, "ring"]]:
    """Pieces of ``length``; for what remains, the length is halved again and again."""
    while len(order):
        while length > len(order):
            length //= 2
        yield order[:length]
        order = order[length:]


def _coordinates(kernel: Kernel) -> list[tuple[int, Float[np.ndarray, "label rank"]]]:
    """Coordinates of labels, with signs: their signed inner products add up to the kernel's similarity."""
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
    """For each draw of labels the sum over trials of coordinates x vector; rank by dim, flattened to a row."""
    draws, trials = labels.shape
    weights = np.ascontiguousarray(coordinates.T[:, labels].transpose(1, 0, 2)).reshape(-1, trials)
    return (weights @ vectors).reshape(draws, -1)
