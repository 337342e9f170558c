"""Answers: one pass where they are exact and a generation elsewhere give what generating everywhere gives."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finst.analysis.proportions import wilson
from finst.engine.edits import unedited
from finst.engine.generate import generate
from finst.engine.record import record
from finst.experiments.representations.accuracy import Accuracy, conditions_of, scene_and_prompt
from finst.experiments.representations.answers import accuracies, scored_answers
from finst.experiments.units import MAX_NEW_TOKENS
from finst.prompts import correct
from finst.scenes.draw import draw
from finst.vlm.encode import encode
from finst.vlm.open import VLM
from tests.experiments.representations.specs import ACCURACY


def test_answers_are_those_that_the_model_generates(vlm: VLM):
    spec = replace(ACCURACY, dtype="float64", device="cpu")
    unit = Accuracy().plan(spec)[1]
    measured = Accuracy().measure(vlm, spec, unit)
    condition = conditions_of(spec)[1]
    for index, answer in zip(unit.trials, measured["said"].values.tolist(), strict=True):
        scene, prompt = scene_and_prompt(spec, condition, index % spec.trials)
        recording = record(vlm, [encode(vlm.reader, draw(scene), prompt)])
        text = generate(vlm, recording, unedited(), MAX_NEW_TOKENS).texts(vlm.reader)[0]
        assert answer == text
        assert bool(measured["correct"].sel(trial=index)) == correct(text, prompt.answer)


def test_whole_answers_and_first_words_are_scored():
    spec = ACCURACY
    _, prompt = scene_and_prompt(spec, conditions_of(spec)[0], 0)
    colour, _ = prompt.answer.split()
    scored = scored_answers([f" {prompt.answer}.", f" {colour} hat", " nothing"], [prompt] * 3)
    assert scored["correct"].values.tolist() == [True, False, False]
    assert scored["colour_correct"].values.tolist() == [True, True, False]
    shares = accuracies(scored, 0.9)
    assert float(shares["accuracy"]) == pytest.approx(1 / 3)
    assert (float(shares["colour_accuracy_low"]), float(shares["colour_accuracy_high"])) == wilson(2, 3, 0.9)
