"""Correlations over roles: the mean over commas has the mean correlation and an interval of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finst.experiments.representations import stages
from finst.experiments.representations.similarity import DOCUMENTATION, targets_of
from finst.experiments.representations.stages import RSAStages
from finst.experiments.representations.trials import labels_of
from tests.experiments.representations import designs
from tests.experiments.representations.specs import STAGES


def test_the_mean_over_commas_is_that_of_every_comma():
    spec = replace(STAGES, permutations=99)
    trials = stages.trials_of(spec, spec.trials)
    summary = RSAStages().summarise(spec, [designs.unit(trials, {("comma 1", "absolute"): 2})])
    assert summary["role"].values.tolist() == ["comma 0", "comma 1", "comma 2", "commas", "last"]
    single, mean = summary.sel(role=["comma 0", "comma 1", "comma 2"]), summary.sel(role="commas")
    for name in ("r", "ceiling_high", "spearman"):
        np.testing.assert_allclose(mean[name], single[name].mean("role", skipna=False), atol=1e-12)
    at = summary.sel(layer=2, comparison="position")
    widths = (at["ci_high"] - at["ci_low"]).values
    assert widths[3] < widths[:3].mean()
    assert float(at["p_fwer"].sel(role="commas")) == 0.01


def test_rank_correlations_are_of_plain_comparisons_and_may_be_left_out():
    trials = stages.trials_of(STAGES, 1)
    part = designs.unit(trials, {})
    with_ranks, without = (
        RSAStages().summarise(replace(STAGES, trials=1, spearman=spearman), [part]) for spearman in (True, False)
    )
    assert with_ranks["spearman"].sel(comparison=["position", "features", "colour", "shape"]).notnull().all()
    assert with_ranks["spearman"].sel(comparison=["position | features", "features | position"]).isnull().all()
    assert without["spearman"].isnull().all()
    np.testing.assert_array_equal(with_ranks["r"], without["r"])


def test_every_variable_is_documented():
    summary = RSAStages().summarise(replace(STAGES, trials=1), [designs.unit(stages.trials_of(STAGES, 1), {})])
    for name in set(summary.data_vars) - {"exact"}:
        assert (summary[name].attrs["units"], summary[name].attrs["long_name"]) == DOCUMENTATION[str(name)]


def test_targets_are_named_by_their_frames():
    labels = labels_of(stages.trials_of(STAGES, 1), ["last"]).sel(role="last")
    assert list(targets_of(labels, {"position": "absolute"})) == ["position", "features", "colour", "shape"]
