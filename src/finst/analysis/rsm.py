"""Representational similarity matrices of activations and of labels (paper, Figs 1c, 2, 14-19, 26-28).

Matrices are over trials, and only pairs of different trials count. Targets are functions of discrete labels, so ``rsa``
can permute them without forming a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from finst.analysis.determined import scaled
from finst.errors import FinstError

Activations = Float[np.ndarray, "trial d_model"]


def unit(activations: Float[np.ndarray, "*map trial d_model"]) -> Float[np.ndarray, "*map trial d_model"]:
    """Activations divided by their norms, in float32, or in float64 if they are, at any scale.

    NaN where all of a trial's are zero, which have no direction. Raises FinstError for activations that are not finite.
    """
    precise = np.asarray(activations, dtype=np.result_type(activations.dtype, np.float32))
    if not np.isfinite(precise).all():
        raise FinstError("activations must be finite")
    precise, _ = scaled(precise, axis=-1)
    norms = np.linalg.norm(precise, axis=-1, keepdims=True)
    return np.divide(precise, norms, out=np.full_like(precise, np.nan), where=norms > 0)


def cosine_rsm(activations: Float[np.ndarray, "*map trial d_model"]) -> Float[np.ndarray, "*map trial trial"]:
    """Cosine of every pair of trials: trials^2 numbers an entry of the map. Raises FinstError as ``unit`` does."""
    directions = unit(activations)
    return directions @ np.swapaxes(directions, -1, -2)


def entries(rsm: Float[np.ndarray, "*map trial trial"]) -> Float[np.ndarray, "*map entry"]:
    """The entries above the diagonal, row by row."""
    return rsm[(..., *np.triu_indices(rsm.shape[-1], 1))]


@dataclass(frozen=True, eq=False)
class Kernel:
    """A symmetric similarity of trials that depends on one discrete label of each trial."""

    labels: Int[np.ndarray, "trial"]
    """Each trial's label, as a row of ``similarity``."""
    similarity: Float[np.ndarray, "label label"]

    def rows(self, trials: slice, among: slice = slice(None)) -> Float[np.ndarray, "row column"]:
        """Similarity of the trials ``trials`` with the trials ``among``."""
        return self.similarity[:, self.labels[among]][self.labels[trials]]


@dataclass(frozen=True, eq=False)
class Target:
    """A target RSM: a weighted sum of kernels over the same trials."""

    weights: tuple[float, ...]
    kernels: tuple[Kernel, ...]

    @property
    def trials(self) -> int:
        """The number of trials."""
        return len(self.kernels[0].labels)

    def matrix(self) -> Float[np.ndarray, "trial trial"]:
        """The whole RSM: trials^2 numbers."""
        every_trial = slice(None)
        terms = (weight * kernel.rows(every_trial) for weight, kernel in zip(self.weights, self.kernels, strict=True))
        return np.sum(list(terms), axis=0)


def position(cells: Shaped[np.ndarray, "trial axis"]) -> Target:
    """The target RSM of position: 1 - distance / largest distance between the cells (row, col) of each trial's object.

    Distances are Euclidean; the largest is that between the cells that occur. Give relative cells for the relative code
    and absolute cells for the absolute code. Raises FinstError when all trials have the same cell.
    """
    places, labels = np.unique(cells, axis=0, return_inverse=True)
    distance = np.linalg.norm(places[:, None].astype(np.float64) - places[None], axis=-1)
    if not distance.any():
        raise FinstError("a position RSM needs at least 2 different places among its trials")
    return Target((1.0,), (Kernel(labels.reshape(-1), 1 - distance / distance.max()),))


def match(values: Shaped[np.ndarray, "trial"]) -> Target:
    """The target RSM of a feature: 1 where two trials have the same value (colour, shape, name), else 0."""
    distinct, labels = np.unique(values, return_inverse=True)
    return Target((1.0,), (Kernel(labels, np.eye(len(distinct))),))


def mean_of(targets: Sequence[Target]) -> Target:
    """The mean of RSMs over the same trials; the paper's feature RSM is the mean of colour match and shape match."""
    share = 1 / len(targets)
    weights = tuple(share * weight for target in targets for weight in target.weights)
    return Target(weights, tuple(kernel for target in targets for kernel in target.kernels))
