"""Choices of a public reproduction in RSA of the stages: what they change, and what they leave unchanged."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from finst.errors import FinstError
from finst.experiments.representations.report import method
from finst.experiments.representations.report.rsa_findings import stages_findings
from finst.experiments.representations.spec import RSAStagesSpec
from finst.experiments.representations.stages import RSAStages, trials_of
from finst.experiments.representations.trials import context_of, positions_of
from finst.experiments.units import units_of
from finst.scenes.sets import absolute
from finst.vlm.open import Reader
from tests.experiments.representations import designs

SPEC = RSAStagesSpec(grid="2x2", trials=2, permutations=20, bootstraps=20)


def test_leaking_adds_the_targets_colour_to_the_prompt_and_nothing_else(reader: Reader):
    clean, leaked = trials_of(SPEC, 1), trials_of(replace(SPEC, leak_target_colour=True), 1)
    for before, after in zip(clean, leaked, strict=True):
        assert after.staged == before.staged
        assert after.labels == before.labels
        target = before.staged.target
        assert target.colour not in before.prompt.sentence
        assert after.prompt == replace(
            before.prompt, sentence=f"{before.prompt.sentence} {target.colour}", answer=target.shape
        )
    first, second = context_of(reader, clean[0]), context_of(reader, leaked[0])
    for name, values in first.image_inputs.items():
        assert torch.equal(values, second.image_inputs[name])
    *commas, last = positions_of(first, clean[0])
    *same, later = positions_of(second, leaked[0])
    assert same == commas
    assert second.input_ids[: last + 1].tolist() == first.input_ids[: last + 1].tolist()
    added = reader.tokenizer.decode(second.input_ids[last + 1 : later + 1])
    assert added.strip() == clean[0].staged.target.colour


@pytest.mark.parametrize("times", [1, 2])
def test_all_arrangements_are_each_shown_equally_often(times: int):
    spec = replace(SPEC, arrangements="all", entropy="low", trials=times)
    trials = trials_of(spec, times)
    assert RSAStages().plan(spec) == units_of(24 * times, spec.trials_per_unit)
    places = Counter(tuple(absolute(obj) for obj in trial.staged.scene.objects) for trial in trials)
    assert len(places) == 24
    assert set(places.values()) == {times}
    scene = trials[0].staged.scene
    assert len({obj.colour for obj in scene.objects}) == len({obj.shape for obj in scene.objects}) == 2
    names = {tuple(obj.name for obj in trial.staged.scene.objects) for trial in trials}
    assert len(names) == 1
    assert len({trial.staged.order for trial in trials}) > 10
    assert {trial.staged.order[-1] for trial in trials} == {0, 1, 2, 3}


def test_all_arrangements_of_fresh_objects_have_other_objects_each_time():
    trials = trials_of(replace(SPEC, arrangements="all", objects="fresh", entropy="any"), 1)
    assert len({tuple(obj.name for obj in trial.staged.scene.objects) for trial in trials}) == 24


def test_a_set_of_all_arrangements_has_statistics_and_states_its_design():
    spec = replace(SPEC, arrangements="all", entropy="low", trials=1)
    data = designs.unit(trials_of(spec, 1), {("last", "absolute"): 2})
    summary = RSAStages().summarise(spec, [data])
    position = summary["r"].sel(role="last", comparison="position")
    assert int(position.argmax("layer")) == 2
    assert np.isfinite(position).all()
    assert method.ALL_ARRANGEMENTS in stages_findings(summary).method[0]


def test_all_arrangements_of_nine_objects_are_too_many(reader: Reader):
    with pytest.raises(FinstError, match="9 in 9: expected a 2x2 grid"):
        RSAStages().check(replace(SPEC, grid="3x3", arrangements="all"), reader)
