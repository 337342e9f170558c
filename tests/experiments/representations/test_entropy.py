"""RSA under entropy: each condition is summarised by itself, with its accuracy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finst.experiments.representations import entropy
from finst.experiments.representations.entropy import RSAEntropy
from tests.experiments.representations import designs
from tests.experiments.representations.specs import ENTROPY


def test_conditions_are_summarised_separately():
    spec = replace(ENTROPY, trials=4)
    parts = []
    for number, condition in enumerate(entropy.CONDITIONS):
        trials = entropy.trials_of(spec, condition, spec.trials)
        planted = {("last", "absolute"): 2} if condition == "high" else {}
        part = designs.unit(trials, planted, seed=number)
        right = np.arange(len(trials)) % (2 if condition == "low" else 8) > 0
        part = part.assign(correct=("trial", right), colour_correct=("trial", right | True))
        parts.append(part.assign_coords(trial=part["trial"] + number * len(trials)))
    summary = RSAEntropy().summarise(spec, parts[::-1])
    r = summary["r"].sel(role="last", comparison="position", layer=2)
    assert float(r.sel(condition="high")) > 0.5 > 0.1 > abs(float(r.sel(condition="low")))
    assert summary["accuracy"].values.tolist() == [0.5, 0.875]
    assert summary["colour_accuracy"].values.tolist() == [1.0, 1.0]
    findings = RSAEntropy().report.findings(summary)
    assert "50.0%" in findings.headline
    assert "87.5%" in findings.headline
    assert {row[0] for row in findings.rows} == {"low", "high"}
    peaks = {row[:3]: row[3] for row in findings.rows}
    assert peaks["high", "last", "position"] == "2"


def test_low_entropy_has_few_colours_and_shapes():
    objects = entropy.trials_of(ENTROPY, "low", 1)[0].staged.scene.objects
    assert len({obj.colour for obj in objects}) == len({obj.shape for obj in objects}) == 2
