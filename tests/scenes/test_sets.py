"""Sets of the representational analyses: numbers of trials, and independence of place and features at every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from finst.errors import FinstError
from finst.options import Entropy
from finst.scenes.object import Grid
from finst.scenes.sets import (
    CENTRE,
    NAMED,
    QUADRANTS,
    Staged,
    absolute,
    counterbalanced,
    frame_set,
    pca_set,
    unique_objects,
)


def table(trials: Sequence[Staged], step: int) -> Counter:
    return Counter((trial.stages[step].name, absolute(trial.stages[step])) for trial in trials)


SETS = {
    "base 2x2": (unique_objects(Grid(2, 2), "high", 3, 0), 16, 3),
    "base 3x3": (unique_objects(Grid(3, 3), "high", 2, 1), 81, 2),
    "low 2x2": (unique_objects(Grid(2, 2), "low", 2, 2), 16, 2),
    "low 3x3": (unique_objects(Grid(3, 3), "low", 1, 3), 81, 1),
    "pca": (pca_set(4, 0), 36, 4),
}


@pytest.mark.parametrize("name", SETS)
def test_at_every_step_every_object_is_in_every_cell_equally_often(name: str):
    trials, pairs, each = SETS[name]
    assert len(trials) == pairs * each
    for step in range(len(trials[0].order)):
        counts = table(trials, step)
        assert len(counts) == pairs
        assert set(counts.values()) == {each}


@pytest.mark.parametrize("name", SETS)
def test_scenes_hold_the_same_objects_once_and_the_target_comes_last(name: str):
    trials, *_ = SETS[name]
    names = {frozenset(obj.name for obj in trial.scene.objects) for trial in trials}
    assert len(names) == 1
    assert all(sorted(trial.order) == list(range(len(trial.scene.objects))) for trial in trials)
    assert all(trial.target == trial.stages[-1] for trial in trials)


def test_low_entropy_is_every_conjunction_and_high_entropy_repeats_as_little_as_can_be():
    for name, values in (("low 2x2", 2), ("low 3x3", 3)):
        objects = SETS[name][0][0].scene.objects
        assert Counter(obj.colour for obj in objects) == Counter({obj.colour: values for obj in objects})
        assert Counter(obj.shape for obj in objects) == Counter({obj.shape: values for obj in objects})
    for name, shapes in (("base 2x2", 4), ("base 3x3", 8)):
        objects = SETS[name][0][0].scene.objects
        assert len({obj.colour for obj in objects}) == len(objects)
        assert len({obj.shape for obj in objects}) == shapes


def test_the_full_sets_have_the_papers_sizes():
    assert len(unique_objects(Grid(2, 2), "low", 100, 0)) == 1600
    assert len(unique_objects(Grid(3, 3), "high", 50, 0)) == 4050
    assert len(pca_set(200, 0)) == 7200


def test_the_pca_set_shows_the_six_named_objects_beside_an_empty_middle():
    trials, *_ = SETS["pca"]
    for trial in trials:
        assert {(obj.colour, obj.shape) for obj in trial.scene.objects} == set(NAMED)
        assert {absolute(obj) for obj in trial.scene.objects} == {(row, col) for row in range(3) for col in (0, 2)}
        assert (trial.scene.width, trial.scene.height) == (392, 392)
    assert trials[0].relative(trials[0].scene.objects[0]) in {(row, col) for row in range(3) for col in range(2)}


def test_the_frame_set_has_four_arrangements_that_share_the_centre():
    trials = frame_set(3, 0)
    assert len(trials) == 4 * 16 * 3
    seen = Counter(frozenset(absolute(obj) for obj in trial.scene.objects) for trial in trials)
    assert len(seen) == 4
    assert set(seen.values()) == {48}
    assert all(CENTRE in cells for cells in seen)
    at_centre = [obj for trial in trials for obj in trial.scene.objects if absolute(obj) == CENTRE]
    assert len(at_centre) == len(trials)
    inside = Counter(trial.relative(trial.target) for trial in trials if absolute(trial.target) == CENTRE)
    assert inside == Counter({(1, 1): 12, (1, 0): 12, (0, 1): 12, (0, 0): 12})


def test_in_the_frame_set_features_are_independent_of_both_frames_at_every_step():
    trials = frame_set(2, 5)
    for step in range(4):
        relative = Counter((t.stages[step].name, t.relative(t.stages[step])) for t in trials)
        assert set(relative.values()) == {8}
        for quadrant in QUADRANTS:
            part = [t for t in trials if min(absolute(obj) for obj in t.scene.objects) == quadrant]
            assert set(table(part, step).values()) == {2}


def test_a_prefix_of_whole_blocks_is_balanced_too():
    trials = unique_objects(Grid(2, 2), "high", 5, 0)
    assert set(table(trials[:32], 1).values()) == {2}


def test_sets_are_those_of_their_seed():
    assert pca_set(2, 7) == pca_set(2, 7)
    assert pca_set(2, 7) != pca_set(2, 8)
    assert frame_set(1, 0) == frame_set(1, 0)


def test_orders_and_arrangements_vary_from_trial_to_trial():
    """Trials with the same prompt would have similar activations without any picture, and the same target."""
    trials = unique_objects(Grid(3, 3), "high", 4, 0)
    assert len({trial.order for trial in trials}) > 320
    assert len({trial.scene for trial in trials}) > 320


@pytest.mark.parametrize("entropy", ["high", "any", "low"])
def test_fresh_objects_keep_places_and_orders_and_are_independent_of_them(entropy: Entropy):
    same, fresh = (unique_objects(Grid(2, 2), entropy, 60, 0, objects) for objects in ("same", "fresh"))
    assert [[absolute(obj) for obj in t.stages] for t in same] == [[absolute(obj) for obj in t.stages] for t in fresh]
    assert len({frozenset(obj.name for obj in t.scene.objects) for t in fresh}) > 300
    for name, values in (("colour", 10), ("shape", 8)):
        counts = Counter((getattr(t.target, name), absolute(t.target)) for t in fresh)
        expected = len(fresh) / (4 * values)
        assert len(counts) == 4 * values
        assert sum((count - expected) ** 2 / expected for count in counts.values()) < 2 * 4 * values


@pytest.mark.parametrize(("per_pair", "cells", "message"), [(0, 6, "trials is 0"), (1, 5, "as many cells as objects")])
def test_impossible_sets_are_refused(per_pair: int, cells: int, message: str):
    with pytest.raises(FinstError, match=message):
        counterbalanced(NAMED, Grid(3, 3).cells[:cells], Grid(3, 3), per_pair, np.random.default_rng(0))
