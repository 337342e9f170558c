"""Sums over pairs of trials: in blocks of bounded memory, and those of whole matrices."""

from __future__ import annotations

import numpy as np
import pytest

from finst.analysis import pairs, rsa, shuffles
from finst.analysis.pairs import Groups, kernel_sums
from tests.analysis.plain import COMPARISONS, coding, design


def test_memory_is_bounded_by_blocks_without_changing_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, targets = design(300)
    activations = [coding(cells, 0.5)]
    whole = rsa.rsa(activations, targets, COMPARISONS, permutations=50, resamples=50, conditions=cells[:, 0])
    monkeypatch.setattr(pairs, "_BLOCK_TRIALS", 20)
    monkeypatch.setattr(shuffles, "_CHUNK_BYTES", 4096)
    parts = rsa.rsa(activations, targets, COMPARISONS, permutations=50, resamples=50, conditions=cells[:, 0])
    for name in ("r", "p", "p_fwer", "ci_low", "ci_high", "ceiling_low", "ceiling_high"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-12)


@pytest.mark.parametrize("trials", [20, 300])
def test_sums_by_group_are_those_of_whole_matrices(trials: int) -> None:
    _, targets = design(trials)
    kernels = targets["position"].kernels
    groups = Groups.of(trials)
    singles, products = kernel_sums(kernels, groups)
    matrix = targets["position"].matrix() * (1 - np.eye(trials))
    members = np.repeat(np.eye(len(groups.starts)), groups.sizes, axis=0)
    np.testing.assert_allclose(singles[0], members.T @ matrix @ members)
    np.testing.assert_allclose(products[0], members.T @ matrix**2 @ members)
    np.testing.assert_array_equal(groups.pairs(), members.T @ (1 - np.eye(trials)) @ members)
