"""Small specs of every representational experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from finst.experiments.representations.accuracy import Accuracy
from finst.experiments.representations.entropy import RSAEntropy
from finst.experiments.representations.frame import RSAFrame
from finst.experiments.representations.pca import PCA
from finst.experiments.representations.spec import AccuracySpec, PCASpec, RSAEntropySpec, RSAFrameSpec, RSAStagesSpec
from finst.experiments.representations.stages import RSAStages

FEW: dict[str, Any] = {"permutations": 19, "bootstraps": 10, "trials_per_unit": 12}
STAGES = RSAStagesSpec(trials=2, grid="2x2", **FEW)
HEADS = replace(STAGES, trials=1, tensor="z")
ENTROPY = RSAEntropySpec(trials=1, grid="2x2", **FEW)
FRAME = RSAFrameSpec(trials=1, **{**FEW, "trials_per_unit": 40})
PLANES = PCASpec(trials=2, components=5, trials_per_unit=20)
FRAME_PLANES = PCASpec(trials=2, set="frame", components=5, trials_per_unit=64)
ACCURACY = AccuracySpec(trials=2, objects=(2, 3), entropies=("low",))

EVERY: Mapping[str, tuple[Any, Any]] = {
    "rsa-stages": (RSAStages(), STAGES),
    "rsa-stages heads": (RSAStages(), HEADS),
    "rsa-entropy": (RSAEntropy(), ENTROPY),
    "rsa-frame": (RSAFrame(), FRAME),
    "pca": (PCA(), PLANES),
    "pca frame": (PCA(), FRAME_PLANES),
    "accuracy": (Accuracy(), ACCURACY),
}
