"""The report of principal components: best layers, points and separability as in the summary."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from finst.experiments.representations import pca
from finst.experiments.representations.pca import PCA
from finst.experiments.representations.report.pca_figures import best_layers
from tests.experiments.representations import designs
from tests.experiments.representations.specs import FRAME_PLANES


@pytest.fixture(scope="module")
def summary() -> xr.Dataset:
    spec = replace(FRAME_PLANES, trials=3, components=10)
    planted = {("last", "relative"): 1, ("last", "colour"): 3}
    return PCA().summarise(spec, [designs.unit(pca.trials_of(spec, spec.trials), planted, ["last"])])


def test_the_best_layers_are_the_planted_ones(summary: xr.Dataset):
    layers = best_layers(summary.sel(view="all objects"))
    assert (layers["relative position"], layers["colour and shape"]) == (1, 3)
    findings = PCA().report.findings(summary)
    assert "relative position in layer 1" in findings.headline
    assert "colour and shape in layer 3" in findings.headline
    assert len(findings.rows) == designs.LAYERS * (3 + 2)
    row = next(row for row in findings.rows if row[:3] == ("all objects", "colour and shape", "3"))
    at = summary.sel(view="all objects", label="colour and shape", layer=3)
    assert row[3:6] == tuple(f"{float(at[name]):.1%}" for name in ("probe", "plane_probe", "chance"))


def test_without_a_plane_that_separates_the_probe_decides():
    part = xr.Dataset(
        {
            "silhouette": (("layer", "label"), np.array([[-0.1, 0.2, np.nan], [-0.2, 0.1, np.nan]])),
            "probe": (("layer", "label"), np.array([[0.5, 0.5, np.nan], [0.7, 0.9, np.nan]])),
        },
        coords={"layer": [0, 1], "label": ["never", "plane", "constant"]},
    )
    assert best_layers(part) == {"never": 1, "plane": 0}


def test_figures_hold_the_points_and_the_separability(summary: xr.Dataset):
    figures = {figure.name: figure for figure in PCA().report.figures(summary)}
    assert list(figures)[:2] == ["planes", "separability"]
    assert {"layers-all-relative-position", "layers-centre-relative-position"} <= set(figures)
    assert "layers-centre-absolute-position" not in figures
    table = pd.read_csv(io.StringIO(figures["layers-all-relative-position"].csv)).set_index(["layer", "trial"])
    assert len(table) == designs.LAYERS * summary.sizes["trial"]
    score = summary["score"].sel(view="all objects", layer=1, trial=5, component=2)
    assert table["pc2"].loc[(1, 5)] == float(score)
    separability = pd.read_csv(io.StringIO(figures["separability"].csv))
    assert len(separability) == summary["probe"].size
