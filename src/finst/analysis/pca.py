"""Principal components of activations (Fig 1b), a layer at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from finst.analysis.determined import constant, precision, scaled, vanishes
from finst.analysis.rsm import Activations
from finst.errors import FinstError


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """The first principal components of each place's activations, over trials.

    Where activations vary in fewer dimensions than components, the remaining axes are NaN and the scores on them 0.
    Components of the same variance are determined up to a rotation among themselves.
    """

    scores: Float[np.ndarray, "place trial component"]
    """Centred activations along the components, in the activations' unit."""
    axes: Float[np.ndarray, "place component d_model"]
    """Orthonormal; the sign is such that an axis's entry with the largest absolute value is positive."""
    explained: Float[np.ndarray, "place component"]
    """Shares of the total variance; NaN where activations are the same in all trials."""
    mean: Float[np.ndarray, "place d_model"]
    """Mean activations over trials."""


def pca(activations: Iterable[Activations], components: int = 2) -> PrincipalComponents:
    """Exact components of every place; one place is in memory at a time.

    Computed in float32, or in float64 if the activations are, at any scale. Raises FinstError when there are fewer
    trials or dimensions than components, and for activations that are not finite.
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
    if not np.isfinite(activations).all():
        raise FinstError("activations must be finite to have principal components")
    data = np.asarray(activations, dtype=np.result_type(activations.dtype, np.float32))
    eps, (data, exponent) = precision(activations), scaled(data)
    mean = data.mean(axis=0, dtype=np.float64).astype(data.dtype)
    centred = np.where(constant(data, 0), 0, data - mean)
    total = float(np.square(centred, dtype=np.float64).sum())
    wide = len(data) < data.shape[1]
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    top = vectors[:, ::-1][:, :components]
    axes = top.T @ centred if wide else top.T
    sizes = np.linalg.norm(axes if wide else centred @ top, axis=1 if wide else 0)
    lost = vanishes(sizes, np.linalg.norm(centred), eps, len(data))
    if wide:
        axes = axes / np.where(lost, 1, np.linalg.norm(axes, axis=1))[:, None]
    largest = np.take_along_axis(axes, abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = axes * np.sign(largest)
    scores = np.where(lost, 0, centred @ axes.T)
    explained = np.maximum(values[::-1][:components], 0) / (total or np.nan)
    return np.ldexp(scores, exponent), np.where(lost[:, None], np.nan, axes), explained, np.ldexp(mean, exponent[0])
