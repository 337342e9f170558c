"""RSMs with known entries, and compared with rsatoolbox."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial.distance
from rsatoolbox.data.dataset import Dataset
from rsatoolbox.rdm.calc import calc_rdm
from rsatoolbox.rdm.rdms import RDMs

from finst.analysis.rsm import cosine_rsm, entries, match, mean_of, position, unit
from finst.errors import FinstError


def test_cosines_are_scipys_in_every_entry_of_the_map() -> None:
    activations = np.random.default_rng(0).normal(size=(2, 3, 7, 5))
    expected = 1 - scipy.spatial.distance.pdist(activations[1, 2], "cosine")
    np.testing.assert_allclose(entries(cosine_rsm(activations))[1, 2], expected, atol=1e-12)


def test_half_precision_is_widened_and_float64_kept() -> None:
    activations = np.random.default_rng(0).normal(size=(4, 5))
    assert unit(activations.astype(np.float16)).dtype == unit(activations.astype(np.float32)).dtype == np.float32
    assert unit(activations).dtype == np.float64


def test_a_vector_without_direction_has_no_cosines() -> None:
    activations = np.ones((3, 4))
    activations[1] = 0
    assert np.isnan(unit(activations)).any(axis=1).tolist() == [False, True, False]
    assert np.isnan(entries(cosine_rsm(activations))).tolist() == [True, False, True]


def test_activations_that_are_not_finite_are_refused() -> None:
    activations = np.ones((3, 4))
    activations[1] = np.inf
    with pytest.raises(FinstError, match="must be finite"):
        unit(activations)


def test_position_is_one_less_the_share_of_the_largest_distance() -> None:
    rsm = position(np.array([[0, 0], [0, 2], [2, 2], [0, 0], [1, 1]])).matrix()
    np.testing.assert_allclose(rsm[0], [1, 1 - 2 / np.sqrt(8), 0, 1, 0.5])
    assert (rsm == rsm.T).all()


def test_a_single_place_is_no_position() -> None:
    with pytest.raises(FinstError, match="at least 2 different places"):
        position(np.ones((4, 2), dtype=int))


def test_features_are_the_mean_of_colour_and_shape_matches() -> None:
    colours, shapes = match(np.array(["red", "red", "blue"])), match(np.array(["star", "heart", "heart"]))
    assert mean_of([colours, shapes]).matrix().tolist() == [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]]


def test_position_is_what_rsatoolbox_computes_from_distances() -> None:
    cells = np.random.default_rng(1).integers(0, 3, (12, 2))
    result = calc_rdm(Dataset(cells.astype(float)), method="euclidean")
    assert isinstance(result, RDMs)
    distances = np.sqrt(result.dissimilarities[0] * cells.shape[1])
    np.testing.assert_allclose(entries(position(cells).matrix()), 1 - distances / distances.max(), atol=1e-12)
