"""Cosines as vectors and offsets are those of the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest

from finst.analysis.cosines import Cosines
from finst.analysis.rsm import cosine_rsm


@pytest.mark.parametrize("d_model", [5, 50])
def test_vectors_and_offsets_give_every_cosine(d_model: int) -> None:
    """With fewer and with more dims than trials."""
    activations = np.random.default_rng(0).normal(size=(20, d_model)) + 1
    cosines, whole = Cosines.of(activations), cosine_rsm(activations)
    assert cosines.vectors.shape == (20, min(d_model, 20))
    block = cosines.less(0.25, slice(3, 7), slice(5, None))
    np.testing.assert_allclose(block, whole[3:7, 5:] - 0.25, atol=1e-12)
    assert cosines.total == pytest.approx(whole.sum())
