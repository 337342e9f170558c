"""A stored run of causal mediation as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finst.errors import FinstError
from finst.experiments.api import load
from finst.experiments.cma.stored import head_maps, stored_mediation
from tests.runs.old_runs import unpacked


def test_a_stored_run_has_the_arrays_of_its_units(tmp_path: Path):
    folder = unpacked("cma", tmp_path)
    stored, run = stored_mediation(folder), load(folder)
    assert (stored.path, stored.spec, stored.model) == (folder, run.spec, run.manifest.model)
    assert stored.pairs == (0, 1, 2, 3)
    np.testing.assert_array_equal(stored.scores, run.summary["score"].transpose("pair", "condition", "layer", "head"))
    assert stored.patched.shape == (*stored.scores.shape, 3)
    assert stored.unedited.shape == (*stored.scores.shape[:2], 3)
    assert stored.noise == float(run.summary["noise"].max())


def test_the_maps_of_a_finished_run(tmp_path: Path):
    folder = unpacked("cma", tmp_path)
    maps, run = head_maps(folder), load(folder)
    assert maps.weights == run.manifest.model.hash
    np.testing.assert_array_equal(maps.mean, run.summary["mean"].transpose("condition", "layer", "head"))


def test_other_runs_and_none_are_refused(tmp_path: Path):
    with pytest.raises(FinstError, match="holds a run of 'accuracy': expected one of causal mediation"):
        head_maps(unpacked("accuracy", tmp_path))
    with pytest.raises(FinstError, match="holds no run"):
        stored_mediation(tmp_path)
