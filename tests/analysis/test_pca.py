"""Principal components compared with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import decomposition

from finst.analysis.pca import pca
from finst.errors import FinstError


@pytest.mark.parametrize(("trials", "d_model"), [(30, 8), (9, 40)])
def test_components_are_scikit_learns_at_every_place(trials: int, d_model: int) -> None:
    activations = np.random.default_rng(0).normal(size=(2, trials, d_model)) * np.linspace(1, 3, d_model) + 5
    result = pca(activations, components=3)
    for place in range(2):
        expected = decomposition.PCA(3, svd_solver="full").fit(activations[place])
        signs = np.sign((result.axes[place] * expected.components_).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(result.axes[place], signs * expected.components_, atol=1e-10)
        np.testing.assert_allclose(result.scores[place], signs.T * expected.transform(activations[place]), atol=1e-9)
        np.testing.assert_allclose(result.explained[place], expected.explained_variance_ratio_, atol=1e-12)
        np.testing.assert_allclose(result.mean[place], activations[place].mean(axis=0))


def test_signs_do_not_depend_on_the_order_or_sign_of_anything_but_the_data() -> None:
    activations = np.random.default_rng(0).normal(size=(20, 6))
    result, again = pca([activations]), pca([activations[::-1].copy()])
    np.testing.assert_allclose(result.axes, again.axes, atol=1e-10)
    largest = abs(result.axes[0]).argmax(axis=1)
    assert (result.axes[0][[0, 1], largest] > 0).all()


def test_single_precision_stays_single_and_is_close() -> None:
    activations = np.random.default_rng(0).normal(size=(50, 12)) * np.linspace(1, 3, 12) + 100
    single, double = pca([activations.astype(np.float32)]), pca([activations])
    assert single.scores.dtype == np.float32
    np.testing.assert_allclose(single.scores, double.scores, atol=1e-3)


def test_planted_plane_is_the_plane_of_the_first_two() -> None:
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(30, 2)))[0]
    activations = rng.normal(size=(200, 2)) * [9, 5] @ plane.T + 0.1 * rng.normal(size=(200, 30))
    result = pca([activations])
    assert result.explained[0].sum() > 0.99
    np.testing.assert_allclose(np.linalg.svd(result.axes[0] @ plane, compute_uv=False), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("activations", "components", "message"),
    [
        (np.eye(4), 4, "4 trials of 4 dimensions have 1 to 3 components, not 4"),
        (np.eye(4), 0, "not 0"),
        (np.full((4, 4), np.nan), 2, "must be finite"),
    ],
)
def test_what_has_no_components_is_refused(activations: np.ndarray, components: int, message: str) -> None:
    with pytest.raises(FinstError, match=message):
        pca([activations], components)
