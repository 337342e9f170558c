"""Principal components: planes separate what is planted, in its layers; labels that divide trials alike are merged."""

from __future__ import annotations

from dataclasses import replace

from finst.experiments.representations import pca
from finst.experiments.representations.pca import PCA
from tests.experiments.representations import designs
from tests.experiments.representations.specs import FRAME_PLANES, PLANES


def test_planes_separate_what_is_planted():
    spec = replace(FRAME_PLANES, trials=3, components=10)
    planted = {("last", "relative"): 1, ("last", "colour"): 3}
    unit = designs.unit(pca.trials_of(spec, spec.trials), planted, ["last"])
    summary = PCA().summarise(spec, [unit])
    assert summary["label"].values.tolist() == ["relative position", "absolute position", "colour and shape"]
    for view in ("all objects", "centre object"):
        for label, layer in (("relative position", 1), ("colour and shape", 3)):
            part = summary.sel(view=view, label=label)
            assert int(part["silhouette"].argmax("layer")) == layer
            assert float(part["probe"].sel(layer=layer)) > 0.9
            assert float(part["probe"].sel(layer=0)) < 0.6
    centre = summary.sel(view="centre object")
    assert centre["probe"].sel(label="absolute position").isnull().all()
    inside = centre["score"].sel(layer=0, component=1).notnull().values
    assert inside.sum() == 3 * 16
    assert (centre["absolute"].values[inside] == 1).all()


def test_labels_that_divide_trials_alike_are_merged():
    unit = designs.unit(pca.trials_of(PLANES, PLANES.trials), {}, ["last"])
    summary = PCA().summarise(PLANES, [unit])
    assert summary["label"].values.tolist() == ["position", "colour and shape"]
    assert set(summary["value"].sel(label="position").values) == {"0", "1", "3", "4", "6", "7"}


def test_another_token_can_be_read():
    spec = replace(PLANES, role="comma 1")
    unit = designs.unit(pca.trials_of(spec, spec.trials), {("comma 1", "absolute"): 2}, ["comma 1"])
    silhouette = PCA().summarise(spec, [unit])["silhouette"].sel(view="all objects", label="position")
    assert int(silhouette.argmax("layer")) == 2
