"""Principal components of activations (Fig 1b), a layer at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from finst.analysis.rsm import Activations
from finst.errors import FinstError


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """The first principal components of each place's activations, over trials."""

    scores: Float[np.ndarray, "place trial component"]
    """Centred activations along the components, in the activations' unit."""
    axes: Float[np.ndarray, "place component d_model"]
    """Orthonormal; the sign is such that an axis's entry with the largest absolute value is positive."""
    explained: Float[np.ndarray, "place component"]
    """Shares of the total variance."""
    mean: Float[np.ndarray, "place d_model"]
    """Mean activations over trials."""


def pca(activations: Iterable[Activations], components: int = 2) -> PrincipalComponents:
    """Exact components of every place; one place is in memory at a time.

    Computed in float32, or in float64 if the activations are. Raises FinstError when there are fewer trials or
    dimensions than components, and for activations that are not finite or the same in all trials.
    """
    places = [_components(place, components) for place in activations]
    if not places:
        raise FinstError("principal components need activations of at least 1 place")
    return PrincipalComponents(*(np.stack(parts) for parts in zip(*places, strict=True)))


def _components(activations: Activations, components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    most = min(len(activations) - 1, activations.shape[1])
    if not 1 <= components <= most:
        raise FinstError(
            f"{len(activations)} trials of {activations.shape[1]} dimensions have 1 to {most} components, "
            f"not {components}"
        )
    data = np.asarray(activations, dtype=np.result_type(activations.dtype, np.float32))
    mean = data.mean(axis=0, dtype=np.float64).astype(data.dtype)
    centred = data - mean
    total = float(np.square(centred, dtype=np.float64).sum())
    if not (np.isfinite(total) and total > 0):
        raise FinstError("activations must be finite, and differ between trials, to have principal components")
    wide = len(data) < data.shape[1]
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    top = vectors[:, ::-1][:, :components]
    axes = top.T
    if wide:
        axes = top.T @ centred
        axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    largest = np.take_along_axis(axes, abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = axes * np.sign(largest)
    return centred @ axes.T, axes, np.maximum(values[::-1][:components], 0) / total, mean
