"""All cosines of a place, held as vectors instead of pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from finst.analysis.rsm import Activations, unit


@dataclass(frozen=True, eq=False)
class Cosines:
    """The cosine of trials i and j is <v_i, v_j> + offset_i + offset_j.

    Vectors are centred: activations of a model may have cosines of 0.999, whose differences float32 would lose in sums.
    """

    vectors: Float[np.ndarray, "trial dim"]
    """In the precision of ``unit``, with no more dims than trials."""
    offsets: Float[np.ndarray, "trial"]
    """In float64."""

    @classmethod
    def of(cls, activations: Activations) -> Cosines:
        """Raises FinstError as ``unit`` does."""
        directions = unit(activations)
        mean = directions.mean(axis=0)
        vectors = directions - mean
        offsets = (vectors @ mean).astype(np.float64) + float(mean @ mean) / 2
        if vectors.shape[1] > len(vectors):
            vectors = np.transpose(np.linalg.qr(vectors.T, mode="r"))
        return cls(vectors, offsets)

    @property
    def total(self) -> float:
        """Sum over all pairs, each trial with itself included."""
        summed = self.vectors.sum(axis=0, dtype=np.float64)
        return float(summed @ summed + 2 * len(self.offsets) * self.offsets.sum())

    def less(self, centre: float, rows: slice, columns: slice) -> Float[np.ndarray, "row column"]:
        """Cosines of some trials with others, less ``centre``."""
        offsets = self.offsets.astype(self.vectors.dtype)
        found = self.vectors[rows] @ self.vectors[columns].T
        found += (self.offsets[rows] - centre).astype(found.dtype)[:, None]
        found += offsets[columns]
        return found
