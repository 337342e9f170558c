"""A place's permutations and resamples are those of whole RSMs."""

from __future__ import annotations

import numpy as np
import pytest

from finst.analysis import places
from finst.analysis.comparisons import ComparisonSet
from tests.analysis import plain
from tests.analysis.plain import COMPARISONS, coding, design, ordered


@pytest.mark.parametrize(("trials", "d_model"), [(40, 6), (30, 50)])
def test_permutations_and_resamples_are_those_of_whole_rsms(trials: int, d_model: int) -> None:
    cells, targets = design(trials)
    activations = coding(cells, 0.5, d_model)
    plan = places.Design.of(ComparisonSet.of(targets, COMPARISONS), None, 5, 4, np.random.default_rng(0))
    result = places.place(activations, plan)
    placed = activations[plan.order]
    moved = dict(zip(targets, ordered(targets, plan.order), strict=True))
    for row, order in zip(result.null, plan.shuffles.orders(), strict=True):
        np.testing.assert_allclose(row, plain.permuted(placed, moved, COMPARISONS, order), atol=1e-12)
    for row, counts in zip(result.resampled, plan.drawn[1:], strict=True):
        drawn = np.repeat(np.arange(trials), counts.astype(int))
        np.testing.assert_allclose(row, plain.resampled(placed, moved, COMPARISONS, drawn), atol=1e-12)
