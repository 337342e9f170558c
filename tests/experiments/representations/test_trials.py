"""Trials: prompts that leave the target out unless they leak its colour, the roles' tokens, and their labels."""

from __future__ import annotations

import numpy as np
import pytest

from finst.experiments.representations import stages
from finst.experiments.representations.roles import roles_of
from finst.experiments.representations.spec import TrialSpec
from finst.experiments.representations.trials import context_of, labels_of, positions_of, trial_of
from finst.prompts import scene_description
from finst.scenes.object import Grid
from finst.scenes.sets import absolute, unique_objects
from finst.vlm.open import VLM
from tests.experiments.representations.specs import STAGES


@pytest.mark.parametrize("leak", [False, True])
def test_the_prompt_names_the_targets_colour_only_if_it_leaks(leak: bool):
    for staged in unique_objects(Grid(2, 2), "high", 1, 0):
        trial = trial_of(TrialSpec(leak_target_colour=leak), staged)
        words = trial.prompt.sentence.split()
        assert (staged.target.colour in words) == leak
        assert staged.target.shape not in words
        assert trial.prompt.answer == (staged.target.shape if leak else staged.target.name)
        assert words[-1] == (staged.target.colour if leak else "a")
        assert [label.colour for label in trial.labels] == [obj.colour for obj in staged.stages]
        spans = [span.object for span in trial.prompt.spans if span.role == "comma"]
        assert spans == list(staged.order[:-1])


def test_a_leaked_colour_leaves_the_described_objects_as_they_were():
    scene = unique_objects(Grid(2, 2), "high", 1, 0)[0].scene
    plain, leaked = (scene_description(scene, [0, 1], 2, leak_target_colour=leak) for leak in (False, True))
    assert leaked.sentence == f"{plain.sentence} {scene.objects[2].colour}"
    assert leaked.spans == plain.spans


def test_roles_are_commas_and_the_last_token(vlm: VLM):
    trial = stages.trials_of(STAGES, 1)[3]
    context = context_of(vlm.reader, trial)
    assert roles_of(4) == ("comma 0", "comma 1", "comma 2", "last")
    words = [vlm.reader.tokenizer.decode([int(context.input_ids[pos])]) for pos in positions_of(context, trial)]
    assert words == [",", ",", " and", " a"]


def test_labels_are_those_of_the_object_before_each_comma_and_of_the_target():
    trials = stages.trials_of(STAGES, 1)
    labels = labels_of(trials, ["last", "comma 1"])
    assert labels["colour"].dims == ("trial", "role")
    assert labels["absolute"].dims == ("trial", "role", "cell")
    for index, trial in enumerate(trials):
        objects = {"last": trial.staged.target, "comma 1": trial.staged.stages[1]}
        for role, obj in objects.items():
            at = labels.isel(trial=index).sel(role=role)
            assert (at["colour"].item(), at["shape"].item()) == (obj.colour, obj.shape)
            np.testing.assert_array_equal(at["absolute"], absolute(obj))
            np.testing.assert_array_equal(at["relative"], trial.staged.relative(obj))
