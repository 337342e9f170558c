"""Permutations of rings: they are a group, and their sums are those of unrestricted permutations."""

from __future__ import annotations

import numpy as np
import pytest

from finst.analysis import shuffles
from finst.analysis.comparisons import ComparisonSet
from finst.analysis.cosines import Cosines
from finst.analysis.rsm import cosine_rsm
from tests.analysis.plain import coding, design


@pytest.mark.parametrize("trials", [1030, 1100, 33])
def test_rings_are_permutations_with_the_sums_of_the_same_unrestricted_ones(trials: int) -> None:
    cells, targets = design(trials)
    rings = shuffles.Rings.random(trials, 6, np.random.default_rng(0))
    orders = rings.orders()
    assert (np.sort(orders, axis=1) == np.arange(trials)).all()
    assert (orders[0] == np.arange(trials)).all()
    assert (orders[1:] == np.arange(trials)).mean() < 0.12
    cosines = Cosines.of(coding(cells, 0.5))
    kernels = ComparisonSet.of(targets, ()).kernels
    explicit = shuffles.Plain(orders).forms(cosines, kernels)
    np.testing.assert_allclose(rings.forms(cosines, kernels), explicit, rtol=1e-12)
    moved = kernels[0].similarity[kernels[0].labels[orders[2]]][:, kernels[0].labels[orders[2]]]
    assert explicit[2, 0] == pytest.approx((cosine_rsm(coding(cells, 0.5)) * moved).sum(), rel=1e-12)


def test_turns_of_rings_are_a_group() -> None:
    """Two turns in succession are a turn, so p is exact."""
    rings = shuffles.Rings.random(1050, 2, np.random.default_rng(0))
    first, second = rings.orders()[1:]
    both = shuffles.Rings(rings.members, rings.sources, (rings.turns[1:2] + rings.turns[2:3]) % shuffles.TURNS)
    np.testing.assert_array_equal(first[second], both.orders()[0])
