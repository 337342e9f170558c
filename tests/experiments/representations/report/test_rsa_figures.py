"""The figures of RSA: names, and tables that hold the summary's numbers."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from finst.experiments.representations import entropy, frame, stages
from finst.experiments.representations.entropy import RSAEntropy
from finst.experiments.representations.frame import RSAFrame
from finst.experiments.representations.report.rsa_figures import last_token, layer_means, single_commas
from finst.experiments.representations.stages import RSAStages
from tests.experiments.representations import designs
from tests.experiments.representations.specs import ENTROPY, FRAME, STAGES


@pytest.fixture(scope="module")
def summary() -> xr.Dataset:
    return RSAStages().summarise(STAGES, [designs.unit(stages.trials_of(STAGES, STAGES.trials), {})])


def test_tables_hold_the_summarys_numbers(summary: xr.Dataset):
    figures = {figure.name: figure for figure in RSAStages().report.figures(summary)}
    assert list(figures) == ["stages", "roles", "partial"]
    table = pd.read_csv(io.StringIO(figures["roles"].csv)).set_index(["role", "layer", "comparison"])
    assert len(table) == summary["r"].size
    for name in ("r", "p_fwer", "ci_low", "spearman"):
        for index, value in table[name].items():
            assert isinstance(index, tuple)
            at = dict(zip(table.index.names, index, strict=True))
            np.testing.assert_equal(value, float(summary[name].sel(at)))


def test_roles_are_single_commas_their_mean_and_the_last_token(summary: xr.Dataset):
    assert single_commas(summary)["role"].values.tolist() == ["comma 0", "comma 1", "comma 2"]
    assert last_token(summary)["role"].item() == "last"


def test_frames_have_one_figure():
    spec = replace(FRAME, permutations=9)
    unit = designs.unit(frame.trials_of(spec, spec.trials), {}, ["last"])
    (figure,) = RSAFrame().report.figures(RSAFrame().summarise(spec, [unit]))
    assert figure.name == "frames"
    assert set(pd.read_csv(io.StringIO(figure.csv))["comparison"]) == {name.name for name in frame.COMPARISONS}


def test_averages_are_means_over_layers_and_accuracies():
    parts = []
    for number, condition in enumerate(entropy.CONDITIONS):
        part = designs.unit(entropy.trials_of(ENTROPY, condition, 1), {}, seed=number)
        right = np.arange(part.sizes["trial"]) % 4 > number
        part = part.assign(correct=("trial", right), colour_correct=("trial", right))
        parts.append(part.assign_coords(trial=part["trial"] + number * part.sizes["trial"]))
    summary = RSAEntropy().summarise(ENTROPY, parts)
    means = layer_means(summary)["mean_r"]
    for condition in entropy.CONDITIONS:
        r = summary["r"].sel(condition=condition, role="last", comparison="position")
        assert float(means.sel(condition=condition, token="last")) == pytest.approx(float(r.mean()))
    figures = {figure.name: figure for figure in RSAEntropy().report.figures(summary)}
    assert list(figures) == ["entropy", "averages"]
    table = pd.read_csv(io.StringIO(figures["averages"].csv)).set_index(["condition", "token"])
    assert table["accuracy"].loc[[("low", "last"), ("high", "last")]].tolist() == [0.75, 0.5]
