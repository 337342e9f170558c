"""Accuracy of scene descriptions: the same scenes in both placements, and a share for every condition."""

from __future__ import annotations

import numpy as np
import pytest

from finst.analysis.proportions import wilson
from finst.experiments.representations.accuracy import Accuracy, AccuracyCondition, conditions_of, scene_and_prompt
from finst.experiments.representations.spec import AccuracySpec
from finst.scenes.object import Grid
from finst.vlm.open import VLM
from tests.experiments.representations.specs import ACCURACY


def test_both_placements_have_the_same_scenes():
    spec = AccuracySpec(trials=1, objects=(4,), entropies=("high",))
    first, second = (scene_and_prompt(spec, condition, 0) for condition in conditions_of(spec))
    assert first[0] == second[0]
    assert (first[1].placement, second[1].placement) == ("prefill", "user_turn")


def test_up_to_four_objects_are_on_the_smaller_grid():
    grids = [AccuracyCondition("prefill", "low", objects).grid for objects in (2, 4, 5, 9)]
    assert grids == [Grid(2, 2), Grid(2, 2), Grid(3, 3), Grid(3, 3)]


def test_every_condition_has_its_share_with_an_interval(vlm: VLM):
    unit = Accuracy().plan(ACCURACY)[0]
    measured = Accuracy().measure(vlm, ACCURACY, unit)
    parts = []
    for number in range(4):
        right = np.array([number > 0, number > 2])
        part = measured.assign(correct=("trial", right), colour_correct=("trial", right | (number == 1)))
        parts.append(part.assign_coords(trial=[2 * number, 2 * number + 1]))
    summary = Accuracy().summarise(ACCURACY, parts[::-1])
    assert dict(summary.sizes) == {"placement": 2, "entropy": 1, "objects": 2}
    assert summary["accuracy"].sel(entropy="low").values.tolist() == [[0.0, 0.5], [0.5, 1.0]]
    assert summary["colour_accuracy"].sel(entropy="low").values.tolist() == [[0.0, 1.0], [0.5, 1.0]]
    at = summary.sel(placement="prefill", entropy="low", objects=3)
    assert (float(at["accuracy_low"]), float(at["accuracy_high"])) == pytest.approx(wilson(1, 2))
