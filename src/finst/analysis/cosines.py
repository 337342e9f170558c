"""All cosines of a place, represented by a vector for each trial instead of a value for each pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from finst.analysis.rsm import Activations, unit


@dataclass(frozen=True, eq=False)
class Cosines:
    """The cosine of trials i and j is <v_i, v_j> + offset_i + offset_j.

    Vectors are centred, because activations of a model may have cosines of 0.999, and sums in float32 would lose their
    differences.
    """

    vectors: Float[np.ndarray, "trial dim"]
    """In the precision of ``unit``, with no more dims than trials."""
    offsets: Float[np.ndarray, "trial"]
    """In float64."""

    @classmethod
    def of(cls, activations: Activations) -> Cosines:
        """The cosines of one place's activations. Raises FinstError as ``unit`` does."""
        directions = unit(activations)
        mean = directions.mean(axis=0)
        vectors = directions - mean
        offsets = (vectors @ mean).astype(np.float64) + float(mean @ mean) / 2
        if vectors.shape[1] > len(vectors):
            vectors = np.transpose(np.linalg.qr(vectors.T, mode="r"))
        return cls(vectors, offsets)

    @property
    def total(self) -> float:
        """Sum over all ordered pairs, those of a trial with itself included."""
        summed = self.vectors.sum(axis=0, dtype=np.float64)
        return float(summed @ summed + 2 * len(self.offsets) * self.offsets.sum())

    def less(self, centre: float, rows: slice, columns: slice) -> Float[np.ndarray, "row column"]:
        """The cosines of the trials ``rows`` with the trials ``columns``, minus ``centre``."""
        offsets = self.offsets.astype(self.vectors.dtype)
        block = self.vectors[rows] @ self.vectors[columns].T
        block += (self.offsets[rows] - centre).astype(block.dtype)[:, None]
        block += offsets[columns]
        return block
