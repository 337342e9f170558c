"""The comparisons of an RSA: correlations of an RSM with targets, plain and partial, from covariances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from finst.analysis.determined import vanishes
from finst.analysis.rsm import Kernel, Target
from finst.errors import FinstError, choice

_EXACT = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Comparison:
    """The correlation of activations with one target, plain or partial."""

    target: str
    given: str = ""
    """The target that is held constant in a partial correlation; empty for a plain one."""

    @property
    def name(self) -> str:
        """Such as ``position`` or ``position | features``."""
        return f"{self.target} | {self.given}" if self.given else self.target


@dataclass(frozen=True, eq=False)
class ComparisonSet:
    """All comparisons of an RSA, with their targets as weighted sums of the kernels that these share."""

    comparisons: tuple[Comparison, ...]
    names: tuple[str, ...]
    """Names of the targets."""
    kernels: tuple[Kernel, ...]
    weights: Float[np.ndarray, "target kernel"]
    target: tuple[int, ...]
    """The target of each comparison, as a row of ``weights``."""
    given: tuple[int, ...]
    """The target held constant in each comparison, as a row of ``weights``; -1 for a plain correlation."""
    trials: int

    @classmethod
    def of(cls, targets: Mapping[str, Target], comparisons: tuple[Comparison, ...]) -> ComparisonSet:
        """The comparisons of named targets.

        Raises FinstError for unknown targets, and for targets over different numbers of trials.
        """
        names = list(targets)
        used = [name for comparison in comparisons for name in (comparison.target, comparison.given) if name]
        unknown = [name for name in used if name not in targets]
        if unknown:
            raise choice("target", unknown[0], names)
        kernels = tuple(dict.fromkeys(kernel for target in targets.values() for kernel in target.kernels))
        weights = np.zeros((len(names), len(kernels)))
        for row, target in enumerate(targets.values()):
            for weight, kernel in zip(target.weights, target.kernels, strict=True):
                weights[row, kernels.index(kernel)] += weight
        sizes = {len(kernel.labels) for kernel in kernels}
        if len(sizes) != 1 or not min(sizes):
            raise FinstError(f"targets are over {sorted(sizes)} trials: expected one number of at least 1")
        return cls(
            comparisons,
            tuple(names),
            kernels,
            weights,
            tuple(names.index(comparison.target) for comparison in comparisons),
            tuple(names.index(comparison.given) if comparison.given else -1 for comparison in comparisons),
            sizes.pop(),
        )

    def ordered(self, order: Int[np.ndarray, "trial"]) -> ComparisonSet:
        """The same comparisons with the trials in another order."""
        return replace(self, kernels=tuple(Kernel(kernel.labels[order], kernel.similarity) for kernel in self.kernels))

    def correlations(
        self,
        cross: Float[np.ndarray, "draw target"],
        spread: Float[np.ndarray, "#draw"],
        between: Float[np.ndarray, "#draw target target"],
        eps: float = _EXACT,
    ) -> Float[np.ndarray, "draw comparison"]:
        """Correlations from covariances over pairs of trials: of the RSM with each target (``cross``), of the RSM with
        itself (``spread``), and of targets with each other (``between``).

        Variances that are NaN make correlations NaN. So is a partial one where nothing is left of the RSM or of the
        target, once the given target is held constant; ``eps`` is the rounding error of cosines, relative to 1.
        """
        scale = np.sqrt(np.einsum("dtt->dt", between))
        plain = cross / (scale * np.sqrt(spread)[:, None])
        shared = between / (scale[:, :, None] * scale[:, None, :])
        columns = []
        for target, given in zip(self.target, self.given, strict=True):
            r = plain[:, target]
            if given >= 0:
                constant, common = plain[:, given], shared[:, target, given]
                left, right = 1 - constant**2, 1 - common**2
                lost = vanishes(left, 1.0, eps, self.trials) | vanishes(right, 1.0, _EXACT, self.trials)
                r = (r - constant * common) / np.sqrt(np.where(lost, np.nan, left * right))
            columns.append(r)
        return np.stack(columns, axis=1)
