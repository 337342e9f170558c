"""What RSA asks: correlations of an RSM with targets, plain and partial, from covariances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from finst.analysis.rsm import Kernel, Target
from finst.errors import FinstError, choice


@dataclass(frozen=True)
class Comparison:
    """Activations with one target, by itself or with another one held constant."""

    target: str
    given: str = ""
    """Of the partial correlation; empty for the plain one."""

    @property
    def name(self) -> str:
        """Such as ``position`` or ``position | features``."""
        return f"{self.target} | {self.given}" if self.given else self.target


@dataclass(frozen=True, eq=False)
class Question:
    """Targets as weights of the kernels that they share."""

    comparisons: tuple[Comparison, ...]
    names: tuple[str, ...]
    """Of the targets."""
    kernels: tuple[Kernel, ...]
    weights: Float[np.ndarray, "target kernel"]
    target: tuple[int, ...]
    given: tuple[int, ...]
    """Of each comparison, as rows of ``weights``; -1 for a plain correlation."""
    trials: int

    @classmethod
    def of(cls, targets: Mapping[str, Target], comparisons: tuple[Comparison, ...]) -> Question:
        """Raises FinstError for unknown targets, and for targets over different or fewer than 3 trials."""
        names = list(targets)
        unknown = [name for one in comparisons for name in (one.target, one.given) if name and name not in targets]
        if unknown:
            raise choice("target", unknown[0], names)
        kernels = tuple(dict.fromkeys(kernel for target in targets.values() for kernel in target.kernels))
        weights = np.zeros((len(names), len(kernels)))
        for row, target in enumerate(targets.values()):
            for weight, kernel in zip(target.weights, target.kernels, strict=True):
                weights[row, kernels.index(kernel)] += weight
        sizes = {len(kernel.labels) for kernel in kernels}
        if len(sizes) != 1 or min(sizes) < 3:
            raise FinstError(f"targets are over {sorted(sizes)} trials: expected one number of at least 3")
        return cls(
            comparisons,
            tuple(names),
            kernels,
            weights,
            tuple(names.index(one.target) for one in comparisons),
            tuple(names.index(one.given) if one.given else -1 for one in comparisons),
            sizes.pop(),
        )

    def ordered(self, order: Int[np.ndarray, "trial"]) -> Question:
        """The same of trials in another order."""
        return replace(self, kernels=tuple(Kernel(kernel.labels[order], kernel.similarity) for kernel in self.kernels))

    def correlations(
        self,
        cross: Float[np.ndarray, "draw target"],
        spread: Float[np.ndarray, "#draw"],
        between: Float[np.ndarray, "#draw target target"],
    ) -> Float[np.ndarray, "draw comparison"]:
        """From covariances: of the RSM with targets, of itself, and among targets."""
        found = []
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may have no variation: NaN
            scale = np.sqrt(np.einsum("dtt->dt", between))
            plain = cross / (scale * np.sqrt(spread)[:, None])
            shared = between / (scale[:, :, None] * scale[:, None, :])
            for target, given in zip(self.target, self.given, strict=True):
                r = plain[:, target]
                if given >= 0:
                    held, common = plain[:, given], shared[:, target, given]
                    r = (r - held * common) / np.sqrt((1 - held**2) * (1 - common**2))
                found.append(r)
        return np.stack(found, axis=1)
