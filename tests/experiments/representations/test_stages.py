"""RSA of the stages: planted signals peak in their layers, at their heads, and correlations are those of matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finst.experiments.representations import stages
from finst.experiments.representations.stages import RSAStages
from tests.experiments.representations import designs
from tests.experiments.representations.specs import HEADS, STAGES


def test_planted_stages_peak_in_their_layers():
    spec = replace(STAGES, trials=6, permutations=99, bootstraps=200)
    planted = {("comma 0", "absolute"): 0, ("comma 1", "absolute"): 0, ("comma 2", "absolute"): 0}
    planted |= {("last", "absolute"): 2, ("last", "colour"): 3}
    summary = RSAStages().summarise(spec, [designs.unit(stages.trials_of(spec, spec.trials), planted)])
    for role, comparison, layer in (
        ("comma 1", "position", 0),
        ("commas", "position", 0),
        ("last", "position", 2),
        ("last", "features", 3),
        ("last", "position | features", 2),
    ):
        part = summary.sel(role=role, comparison=comparison)
        assert int(part["r"].argmax("layer")) == layer
        assert np.flatnonzero(part["p_fwer"].values < 0.05).tolist() == [layer]
        peak = part.isel(layer=layer)
        assert float(peak["ci_low"]) < float(peak["r"]) < float(peak["ci_high"]) < float(peak["ci_low"]) + 0.3
        assert float(peak["r"]) <= float(peak["ceiling_high"]) + 1e-9


def test_correlations_are_those_of_whole_matrices():
    spec = replace(STAGES, trials=1)
    trials = stages.trials_of(spec, 1)
    part = designs.unit(trials, {("last", "absolute"): 1})
    summary = RSAStages().summarise(spec, [part])
    x = part["activations"].sel(role="last", layer=1).values.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    targets = [trial.staged.target for trial in trials]
    cells = np.array([obj.cell for obj in targets], dtype=float)
    distances = np.linalg.norm(cells[:, None] - cells[None], axis=-1)
    colour, shape = (np.array([getattr(obj, name) for obj in targets]) for name in ("colour", "shape"))
    features = ((colour[:, None] == colour) + 1.0 * (shape[:, None] == shape)) / 2
    pairs = np.triu_indices(len(trials), 1)
    for name, target in (("position", 1 - distances / np.sqrt(2)), ("features", features)):
        expected = np.corrcoef((x @ x.T)[pairs], target[pairs])[0, 1]
        assert float(summary["r"].sel(role="last", layer=1, comparison=name)) == pytest.approx(expected, abs=1e-6)


def test_planted_heads_are_significant_in_the_whole_map():
    spec = replace(HEADS, trials=3, permutations=199, bootstraps=50)
    trials = stages.trials_of(spec, spec.trials)
    part = designs.heads_unit(trials, {"commas": (0, 3), "last": (2, 1)}, inactive=(1, 2))
    summary = RSAStages().summarise(spec, [part])
    assert summary["r"].dims == ("role", "layer", "head", "comparison")
    for role, head in (("commas", (0, 3)), ("last", (2, 1))):
        at = summary.sel(role=role, comparison="position")
        assert np.argwhere(at["p_fwer"].values < 0.05).tolist() == [list(head)]
        assert np.argwhere(np.isnan(at["r"].values)).tolist() == [[1, 2]]
    x = part["activations"].sel(role="last").values[:, 2, 3].astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cells = np.array([trial.staged.target.cell for trial in trials], dtype=float)
    distances = np.linalg.norm(cells[:, None] - cells[None], axis=-1)
    pairs = np.triu_indices(len(trials), 1)
    expected = np.corrcoef((x @ x.T)[pairs], distances[pairs])[0, 1]
    r = summary["r"].sel(role="last", layer=2, head=3, comparison="position")
    assert float(r) == pytest.approx(-expected, abs=1e-6)


def test_fresh_objects_reach_the_labels():
    spec = replace(STAGES, objects="fresh", entropy="any")
    trials = stages.trials_of(spec, spec.trials)
    assert len({label.colour for trial in trials for label in trial.labels}) == 10
    summary = RSAStages().summarise(spec, [designs.unit(trials, {("last", "colour"): 1})])
    assert int(summary["r"].sel(role="last", comparison="colour").argmax("layer")) == 1
    assert summary["ceiling_low"].isnull().all()
