"""Comparisons of an RSA: names, shared kernels, and correlations from covariances."""

from __future__ import annotations

import numpy as np
import pytest

from finst.analysis.comparisons import Comparison, ComparisonSet
from finst.errors import FinstError
from tests.analysis.plain import COMPARISONS, design


def test_targets_share_their_kernels() -> None:
    """Features are the mean of colour and shape: three kernels make three targets."""
    _, targets = design(12)
    compared = ComparisonSet.of(targets, COMPARISONS)
    assert (compared.names, compared.trials, len(compared.kernels)) == (("position", "colour", "features"), 12, 3)
    np.testing.assert_array_equal(compared.weights, [[1, 0, 0], [0, 1, 0], [0, 0.5, 0.5]])
    assert compared.target == (0, 1, 2, 0, 2)
    assert compared.given == (-1, -1, -1, 2, 0)
    assert [comparison.name for comparison in COMPARISONS][3:] == ["position | features", "features | position"]


def test_correlations_are_those_of_the_covariances() -> None:
    _, targets = design(12)
    compared = ComparisonSet.of(targets, COMPARISONS)
    data = np.random.default_rng(0).normal(size=(4, 50))
    data[0] += data[1] + data[3]
    rsm, *values = data
    covariances = np.cov(data, bias=True)
    r = compared.correlations(covariances[None, 0, 1:], covariances[:1, 0], covariances[None, 1:, 1:])[0]
    np.testing.assert_allclose(r[:3], [np.corrcoef(rsm, target)[0, 1] for target in values])
    residuals = [part - np.polyval(np.polyfit(values[2], part, 1), values[2]) for part in (rsm, values[0])]
    assert r[3] == pytest.approx(np.corrcoef(*residuals)[0, 1])


def test_an_unknown_target_is_refused() -> None:
    _, targets = design(12)
    with pytest.raises(FinstError, match="unknown target 'place'"):
        ComparisonSet.of(targets, (Comparison("position", "place"),))
