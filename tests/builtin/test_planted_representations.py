"""RSA and PCA of the planted models: position and features appear in the planted layers and heads, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from finst.experiments.representations.frame import RSAFrame
from finst.experiments.representations.pca import PCA
from finst.experiments.representations.report.pca_figures import best_layers
from finst.experiments.representations.spec import PCASpec, RSAFrameSpec, RSAStagesSpec
from finst.experiments.representations.stages import RSAStages
from tests.builtin.test_planted import BINDING
from tests.planted import measured

FEW: dict[str, Any] = {"permutations": 39, "bootstraps": 2, "device": "cpu", "spearman": False}


def summarised(experiment: Any, spec: Any) -> xr.Dataset:
    summary = measured(experiment, spec)
    assert summary["exact"].all()
    return summary


def peak(summary: xr.Dataset, role: str, comparison: str) -> int:
    return int(summary["r"].sel(role=role, comparison=comparison).argmax("layer"))


def test_stages_peak_in_the_planted_layers():
    summary = summarised(RSAStages(), RSAStagesSpec(model="planted", grid="2x2", trials=2, **FEW))
    position = summary.sel(comparison="position")
    assert (position["p_fwer"].sel(role="commas") < 0.05).values.tolist() == [False, False, True, True, True, True]
    assert float(position["r"].sel(role="commas", layer=2)) > 0.9
    assert peak(summary, "last", "position") == 3
    assert (position["p_fwer"].sel(role="last") < 0.05).values.tolist() == [False, False, False, True, True, True]
    features = summary["r"].sel(role="last", comparison="features")
    assert float(features.sel(layer=4)) > 0.9 > float(features.sel(layer=3)) + 0.4


def test_heads_that_hold_position_and_features_are_the_planted_ones():
    """Later heads may copy what the planted heads wrote: their r is as large, but in later layers."""
    summary = summarised(RSAStages(), RSAStagesSpec(model="planted", grid="2x2", trials=2, tensor="z", **FEW))

    def best(role: str, comparison: str) -> list[tuple[int, int]]:
        at = summary.sel(role=role, comparison=comparison).transpose("layer", "head", ...)
        r = at["r"].stack(place=("layer", "head")).dropna("place")
        assert float(at["p_fwer"].where(at["r"] == r.max()).min()) < 0.05
        return [(int(layer), int(head)) for layer, head in r["place"].values[(r > r.max() - 0.005).values]]

    assert best("commas", "position") == [(2, 5)]
    assert best("last", "position") == [(3, 1), (5, 4)]
    assert best("last", "features") == [(4, 6)]
    for layer, head in ((3, 1), (4, 6)):
        at = summary["r"].sel(role="commas", layer=layer, head=head, comparison="position")
        assert at.isnull(), "the head is inactive at the commas"


@pytest.mark.parametrize("name", BINDING)
def test_relative_and_absolute_coding_are_separated(name: str):
    summary = summarised(RSAFrame(), RSAFrameSpec(model=name, trials=1, **FEW)).sel(role="last", layer=3)
    coding, other = ("relative", "absolute") if name == "planted" else ("absolute", "relative")
    r = summary["r"]
    assert float(r.sel(comparison=coding)) > 0.9
    assert float(r.sel(comparison=f"{coding} | {other}")) > 0.9
    assert float(r.sel(comparison=f"{other} | {coding}")) < 0.2
    assert float(summary["p_fwer"].sel(comparison=coding)) < 0.05


def test_principal_components_separate_positions_and_features_in_the_planted_layers():
    summary = summarised(PCA(), PCASpec(model="planted", trials=2, device="cpu")).sel(view="all objects")
    position, words = (summary.sel(label=name) for name in ("position", "colour and shape"))
    for part, layer in ((position, 3), (words, 4)):
        assert best_layers(summary)[str(part["label"].values)] == layer
        assert float(part["plane_probe"].sel(layer=layer)) > 0.9
        before = float(part["plane_probe"].sel(layer=layer - 1))
        assert before < 0.4 or np.isnan(before)  # a plane is not determined where activations do not vary


def test_without_binding_there_is_no_position_at_any_token():
    """The counting model holds the target's features, but not its position."""
    spec = RSAStagesSpec(model="planted-counting", grid="2x2", trials=3, objects="fresh", entropy="any", **FEW)
    summary = summarised(RSAStages(), spec)
    p = summary["p_fwer"].sel(comparison=["position", "position | features"], role=["commas", "last"])
    assert (p > 0.05).any()
    assert not (p <= 0.05).any()
    assert abs(summary["r"].sel(comparison="position")).max() < 0.1
    assert float(summary["r"].sel(role="last", comparison="features", layer=4)) > 0.5
