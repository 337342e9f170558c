"""Sums over pairs of trials by groups of trials, from which correlations of RSMs and their bootstrap are computed.

RSMs are formed in blocks, and each block is summed at once; only sums [group, group] are kept. Trials come in random
order, so drawing groups with replacement is a bootstrap over trials; with as many groups as trials it is the usual one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from finst.analysis.cosines import Cosines
from finst.analysis.rsm import Kernel

GROUPS = 128
"""Largest number of groups."""

_BLOCK_TRIALS = 512

Sums = Float[np.ndarray, "value group group"]
Block = Callable[[slice, slice], list[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Groups:
    """Consecutive trials, in groups whose sizes differ by at most one; for trials that are in random order."""

    starts: Int[np.ndarray, "group"]
    """The first trial of each group."""
    trials: int

    @classmethod
    def of(cls, trials: int) -> Groups:
        """At most ``GROUPS`` groups of ``trials`` trials."""
        count = min(trials, GROUPS)
        return cls(np.arange(count) * trials // count, trials)

    @property
    def sizes(self) -> Int[np.ndarray, "group"]:
        """Trials in each group."""
        return np.diff(self.starts, append=self.trials)

    def pairs(self) -> Float[np.ndarray, "group group"]:
        """The number of ordered pairs of different trials, by pair of groups."""
        return np.outer(self.sizes, self.sizes).astype(np.float64) - np.diag(self.sizes)

    def sums(self, block: Block, values: int) -> Sums:
        """Sums of ``values`` quantities over ordered pairs of different trials, by pair of groups.

        ``block`` gives the quantities for some rows and columns; they are symmetric, and zero for a trial with itself.
        """
        count = len(self.starts)
        edges = np.append(self.starts, self.trials)
        sums = np.zeros((values, count, count))
        step = max(1, _BLOCK_TRIALS * count // self.trials)
        for first in range(0, count, step):
            last = min(first + step, count)
            rows, columns = slice(edges[first], edges[last]), slice(edges[first], None)
            for index, entries in enumerate(block(rows, columns)):
                by_column = np.add.reduceat(entries, self.starts[first:] - edges[first], axis=1)
                by_group = np.add.reduceat(by_column, self.starts[first:last] - edges[first], axis=0, dtype=np.float64)
                sums[index, first:last, first:] = by_group
                sums[index, last:, first:last] = by_group[:, last - first :].T
        return sums


def kernel_sums(kernels: Sequence[Kernel], groups: Groups) -> tuple[Sums, Float[np.ndarray, "product group group"]]:
    """The sums of each kernel, and of each product of two kernels (row by row)."""

    def block(rows: slice, columns: slice) -> list[np.ndarray]:
        values = [_hollow(kernel.rows(rows, columns)) for kernel in kernels]
        return values + [first * second for first in values for second in values]

    sums = groups.sums(block, len(kernels) * (len(kernels) + 1))
    return sums[: len(kernels)], sums[len(kernels) :]


def cosine_sums(cosines: Cosines, centre: float, kernels: Sequence[Kernel], groups: Groups) -> Sums:
    """The sums of the cosines minus ``centre``, of their squares, and of their products with each kernel."""

    def block(rows: slice, columns: slice) -> list[np.ndarray]:
        values = _hollow(cosines.less(centre, rows, columns))
        products = [values * kernel.rows(rows, columns) for kernel in kernels]
        return [values, values**2, *products]

    return groups.sums(block, 2 + len(kernels))


def _hollow(values: Float[np.ndarray, "row column"]) -> Float[np.ndarray, "row column"]:
    """``values`` with zeros for each trial's pair with itself; columns begin with the trials of the rows."""
    np.fill_diagonal(values, 0)
    return values
