"""What training may show: the scenes, their shares, and what is held back."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finst.builtin.organism.lessons.training_scenes import (
    CANVASES,
    MAX_JITTER_PX,
    WITHHELD,
    drawn_features,
    has_withheld_pair,
    held_out_layouts,
    layout_is_held_out,
    scene_if,
    training_scene,
)
from finst.scenes.designs import features, free_scene, grid_scene
from finst.scenes.object import Grid
from finst.scenes.shapes import COLOURS

PAPER = {("red", "circle"), ("green", "triangle"), ("blue", "square"), ("purple", "star"), ("yellow", "heart")}

seeds = st.integers(0, 2**32 - 1)
grids = st.sampled_from(CANVASES)


def test_ten_pairs_are_withheld_one_of_each_colour_and_none_that_the_paper_names():
    assert len(WITHHELD) == 10
    assert {colour for colour, _ in WITHHELD} == set(COLOURS)
    assert not WITHHELD & (PAPER | {("orange", "cross")})


@pytest.mark.parametrize("grid", CANVASES)
def test_about_a_tenth_of_the_layouts_is_held_out_and_never_a_full_grid(grid):
    for count in range(2, len(grid.cells)):
        held = held_out_layouts(grid, count)
        assert held
        assert all(len(cells) == count for cells in held)
    assert not held_out_layouts(grid, len(grid.cells))


@settings(deadline=None, max_examples=40)
@given(seeds, grids)
def test_training_scenes_hold_nothing_back_that_is_withheld(seed, grid):
    scene = training_scene(np.random.default_rng(seed), grid)
    assert (scene.width, scene.height) == (grid.width, grid.height)
    assert 2 <= len(scene.objects) <= len(grid.cells)
    assert not has_withheld_pair(scene)
    assert not layout_is_held_out(scene, grid)


@pytest.mark.parametrize("entropy", ["low", "high", "any"])
@pytest.mark.parametrize("count", [2, 4, 5, 9])
def test_features_are_drawn_as_those_of_all_other_scenes(entropy, count):
    rng, draws = np.random.default_rng(0), 1500

    def values(draw):
        pairs = [draw(rng, count, entropy) for _ in range(draws)]
        assert all(len(set(named)) == count for named in pairs)
        kinds = Counter((len({c for c, _ in named}), len({s for _, s in named})) for named in pairs)
        words = Counter(word for named in pairs for pair in named for word in pair)
        return kinds, words

    (kinds, words), (other_kinds, other_words) = values(drawn_features), values(features)
    assert kinds.keys() == other_kinds.keys() or entropy == "any"
    for kind in kinds | other_kinds:
        assert abs(kinds[kind] - other_kinds[kind]) < 5 * np.sqrt(draws)
    for word in words | other_words:
        assert abs(words[word] - other_words[word]) < 6 * np.sqrt(other_words[word]) * np.sqrt(count)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_scenes_of_few_colours_and_shapes_are_as_frequent_as_asked_for(share):
    rng = np.random.default_rng(3)
    drawn = [training_scene(rng, Grid(2, 2), nearly_full=1.0, low_entropy=share).objects for _ in range(600)]
    threes = [objects for objects in drawn if len(objects) == 3]
    few = [len({o.colour for o in objects}) == len({o.shape for o in objects}) == 2 for objects in threes]
    assert len(threes) > 200
    assert abs(np.mean(few) - share) < 0.12


def slow_training_scene(rng, grid, nearly_full):
    """As it was once written: whole scenes are made and then looked at."""
    capacity = len(grid.cells)
    while True:
        crowded = rng.random() < nearly_full
        count = int(rng.integers(capacity - 2, capacity) if crowded else rng.integers(2, capacity + 1))
        entropy = ("low", "high", "any")[rng.integers(3)]
        scene = grid_scene(rng, grid, count, entropy, int(rng.integers(2)) * MAX_JITTER_PX)
        if not (has_withheld_pair(scene) or layout_is_held_out(scene, grid)):
            return scene


def test_a_freely_placed_scene_is_on_no_layout():
    for grid in CANVASES:
        assert not layout_is_held_out(free_scene(np.random.default_rng(0), grid.width, grid.height, 2), grid)


def test_scenes_are_as_likely_as_when_whole_scenes_were_made_and_thrown_away():
    rng, draws, grid = np.random.default_rng(1), 1500, Grid(3, 3)

    def kinds(make):
        counts = Counter()
        for scene in (make(rng, grid, 0.25) for _ in range(draws)):
            counts["count", len(scene.objects)] += 1
            counts["jittered", any(obj.box != grid.box(obj.cell) for obj in scene.objects)] += 1
            counts["colours", len({obj.colour for obj in scene.objects})] += 1
            for obj in scene.objects:
                counts["cell", obj.cell] += 1
        return counts

    fast, slow = kinds(training_scene), kinds(slow_training_scene)
    for kind in fast | slow:
        assert abs(fast[kind] - slow[kind]) < 5 * np.sqrt(2 * max(fast[kind], slow[kind])), kind


@pytest.mark.parametrize("withheld", [False, True])
@pytest.mark.parametrize("held_out", [False, True, None])
def test_scenes_are_as_wanted(withheld, held_out):
    rng, grid = np.random.default_rng(0), Grid(3, 3)
    scenes = [scene_if(rng, grid, 5, "any", withheld=withheld, held_out=held_out) for _ in range(300)]
    made = [scene for scene in scenes if scene is not None]
    assert made
    for scene in made:
        assert has_withheld_pair(scene) == withheld
        assert held_out is None or layout_is_held_out(scene, grid) == held_out
