"""Sums over pairs of trials, kept apart by groups of trials: what correlations of RSMs, and their bootstrap, are made of.

RSMs are formed in blocks that are summed at once; what is kept is [group, group]. Groups are random, so drawing groups
with replacement is a bootstrap over trials, and with as many groups as trials it is the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from finst.analysis.rsm import Kernel

GROUPS = 128

_BLOCK_TRIALS = 512

Sums = Float[np.ndarray, "value group group"]
Block = Callable[[slice, slice], list[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Groups:
    """Trials dealt at random into groups whose sizes differ by at most one."""

    order: Int[np.ndarray, "trial"]
    """Trials, group by group."""
    starts: Int[np.ndarray, "group"]
    """Where each group begins in ``order``."""

    @classmethod
    def dealt(cls, trials: int, rng: np.random.Generator) -> Groups:
        """At most ``GROUPS`` of them."""
        count = min(trials, GROUPS)
        return cls(rng.permutation(trials), np.arange(count) * trials // count)

    @property
    def sizes(self) -> Int[np.ndarray, "group"]:
        """Trials in each group."""
        return np.diff(self.starts, append=len(self.order))

    @property
    def members(self) -> Int[np.ndarray, "trial"]:
        """The group of each trial."""
        found = np.empty(len(self.order), dtype=np.int64)
        found[self.order] = np.repeat(np.arange(len(self.starts)), self.sizes)
        return found

    def pairs(self) -> Float[np.ndarray, "group group"]:
        """Ordered pairs of different trials."""
        return np.outer(self.sizes, self.sizes).astype(np.float64) - np.diag(self.sizes)

    def sums(self, block: Block, values: int) -> Sums:
        """Sums over ordered pairs of different trials of what ``block`` gives for rows and columns in ``order``.

        Values are symmetric and zero for a trial's pair with itself.
        """
        count = len(self.starts)
        edges = np.append(self.starts, len(self.order))
        found = np.zeros((values, count, count))
        step = max(1, _BLOCK_TRIALS * count // len(self.order))
        for first in range(0, count, step):
            last = min(first + step, count)
            rows, columns = slice(edges[first], edges[last]), slice(edges[first], None)
            for index, entries in enumerate(block(rows, columns)):
                by_column = np.add.reduceat(entries, self.starts[first:] - edges[first], axis=1)
                by_group = np.add.reduceat(by_column, self.starts[first:last] - edges[first], axis=0, dtype=np.float64)
                found[index, first:last, first:] = by_group
                found[index, last:, first:last] = by_group[:, last - first :].T
        return found


def kernel_sums(kernels: Sequence[Kernel], groups: Groups) -> tuple[Sums, Sums]:
    """Of each kernel, and of each product of two (row by row)."""
    arranged = _arranged(kernels, groups)

    def block(rows: slice, columns: slice) -> list[np.ndarray]:
        values = [_hollow(kernel.rows(rows, columns)) for kernel in arranged]
        return values + [one * other for one in values for other in values]

    found = groups.sums(block, len(kernels) * (len(kernels) + 1))
    return found[: len(kernels)], found[len(kernels) :]


def cosine_sums(
    vectors: Float[np.ndarray, "trial dim"], centre: float, kernels: Sequence[Kernel], groups: Groups
) -> Sums:
    """Of the cosines of unit vectors less ``centre``, of the squares of these, and of their product with each kernel."""
    arranged, placed = _arranged(kernels, groups), vectors[groups.order]

    def block(rows: slice, columns: slice) -> list[np.ndarray]:
        cosines = placed[rows] @ placed[columns].T
        cosines -= centre
        values = _hollow(cosines)
        products = [values * kernel.rows(rows, columns) for kernel in arranged]
        return [values, values**2, *products]

    return groups.sums(block, 2 + len(kernels))


def _arranged(kernels: Sequence[Kernel], groups: Groups) -> list[Kernel]:
    return [Kernel(kernel.labels[groups.order], kernel.similarity) for kernel in kernels]


def _hollow(values: Float[np.ndarray, "row column"]) -> Float[np.ndarray, "row column"]:
    """The same, which begins with the rows' pairs among themselves, with zeros for a trial's pair with itself."""
    np.fill_diagonal(values, 0)
    return values
