"""Designs: distinct objects, counterbalanced, seeded."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finst.errors import FinstError
from finst.options import Entropy
from finst.scenes.designs import balanced, features, free_scene, grid_scene, mediation_pairs
from finst.scenes.object import OBJECT_PX, Grid
from finst.scenes.shapes import COLOURS, SHAPES

seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 9)
entropies = st.sampled_from(["low", "high", "any"])


def within_one(values: Counter[object], count: int) -> bool:
    """Whether ``count`` values occur equally often, within one."""
    frequencies = [*values.values(), *([0] * (count - len(values)))]
    return len(values) <= count and max(frequencies) - min(frequencies) <= 1


@given(seeds, counts, entropies)
def test_conjunctions_are_distinct_and_seeded(seed: int, count: int, entropy: Entropy) -> None:
    pairs = features(np.random.default_rng(seed), count, entropy)
    assert len(set(pairs)) == len(pairs) == count
    assert {c for c, _ in pairs} <= set(COLOURS)
    assert {s for _, s in pairs} <= set(SHAPES)
    assert pairs == features(np.random.default_rng(seed), count, entropy)


@given(seeds, counts)
def test_low_entropy_takes_few_values(seed: int, count: int) -> None:
    pairs = features(np.random.default_rng(seed), count, "low")
    values = 2 if count <= 4 else 3
    assert len({c for c, _ in pairs}) <= values
    assert len({s for _, s in pairs}) <= values


@given(seeds, counts)
def test_high_entropy_repeats_a_value_only_when_it_must(seed: int, count: int) -> None:
    pairs = features(np.random.default_rng(seed), count, "high")
    assert len({c for c, _ in pairs}) == count
    assert len({s for _, s in pairs}) == min(count, len(SHAPES))


def test_impossible_sets_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(FinstError, match="at most 9"):
        features(rng, 10, "low")
    with pytest.raises(FinstError, match="at most 10"):
        features(rng, 11, "high")
    with pytest.raises(FinstError, match="80 conjunctions"):
        features(rng, 81, "any")
    with pytest.raises(FinstError, match="1 to 4 objects, not 5"):
        grid_scene(rng, Grid(2, 2), 5)
    with pytest.raises(FinstError, match="1 to 4 objects, not 0"):
        grid_scene(rng, Grid(2, 2), 0)
    with pytest.raises(FinstError, match="jitter"):
        grid_scene(rng, Grid(2, 2), 2, jitter_px=OBJECT_PX // 2)
    with pytest.raises(FinstError, match="do not fit"):
        free_scene(rng, 112, 112, 5)
    with pytest.raises(FinstError, match="does not fit"):
        free_scene(rng, 280, 55, 1)
    with pytest.raises(FinstError, match="4 roles need as many distinct values: expected at most 3"):
        balanced(rng, 3, 6, 4)


@given(seeds, st.sampled_from(["2x2", "3x3", "3x2"]), st.data())
def test_a_grid_scene_puts_objects_into_different_cells_near_their_places(
    seed: int, name: str, data: st.DataObject
) -> None:
    grid = Grid.parse(name)
    count = data.draw(st.integers(1, len(grid.cells)))
    jitter = data.draw(st.integers(0, OBJECT_PX // 2 - 1))
    scene = grid_scene(np.random.default_rng(seed), grid, count, jitter_px=jitter)
    assert (scene.width, scene.height) == (grid.width, grid.height)
    assert len({obj.cell for obj in scene.objects}) == len(scene.objects) == count
    for obj in scene.objects:
        assert obj.cell is not None
        moved = np.subtract(obj.box, grid.box(obj.cell))
        assert abs(moved).max() <= jitter
        assert tuple(moved[:2]) == tuple(moved[2:])
    assert scene == grid_scene(np.random.default_rng(seed), grid, count, jitter_px=jitter)


def test_jitter_uses_its_whole_range() -> None:
    moves = set()
    for seed in range(60):
        scene = grid_scene(np.random.default_rng(seed), Grid(2, 2), 4, jitter_px=2)
        moves |= {obj.box[0] - Grid(2, 2).box(obj.cell)[0] for obj in scene.objects if obj.cell is not None}
    assert moves == {-2, -1, 0, 1, 2}


@given(seeds, st.integers(1, 5))
def test_free_objects_do_not_overlap(seed: int, count: int) -> None:
    scene = free_scene(np.random.default_rng(seed), 392, 280, count)
    taken = np.zeros((280, 392), dtype=int)
    for obj in scene.objects:
        left, top, right, bottom = obj.box
        assert (right - left, bottom - top, obj.cell) == (OBJECT_PX, OBJECT_PX, None)
        taken[top:bottom, left:right] += 1
    assert taken.max() == 1
    assert scene == free_scene(np.random.default_rng(seed), 392, 280, count)


@given(seeds, st.integers(1, 10), st.integers(0, 45), st.data())
def test_balanced_values_are_distinct_in_a_trial_and_equally_often_in_every_role(
    seed: int, values: int, trials: int, data: st.DataObject
) -> None:
    roles = data.draw(st.integers(1, values))
    if trials == 0:
        return
    table = balanced(np.random.default_rng(seed), values, trials, roles)
    assert table.shape == (trials, roles)
    assert all(len(set(row)) == roles for row in table.tolist())
    for role in table.T.tolist():
        assert within_one(Counter(role), values)


@given(seeds, st.integers(1, 60))
def test_mediation_pairs_are_counterbalanced(seed: int, count: int) -> None:
    pairs = mediation_pairs(count, seed)
    assert len(pairs) == count
    described, target, new = zip(
        *((p.clean.objects[0], p.clean.objects[1], p.changed.objects[1]) for p in pairs), strict=True
    )
    for role in (described, target, new):
        assert within_one(Counter(obj.colour for obj in role), len(COLOURS))
        assert within_one(Counter(obj.shape for obj in role), len(SHAPES))
    assert within_one(Counter(obj.cell for obj in described), 4)


@given(seeds)
def test_the_contexts_of_a_mediation_pair_differ_in_one_thing_only(seed: int) -> None:
    for pair in mediation_pairs(8, seed):
        described, target = pair.clean.objects
        assert (pair.clean.width, pair.clean.height) == (280, 280)
        assert described.cell is not None
        assert target.cell == (described.cell[0], 1 - described.cell[1])
        assert len({described.colour, target.colour, pair.changed.objects[1].colour}) == 3
        assert len({described.shape, target.shape, pair.changed.objects[1].shape}) == 3
        assert pair.swapped == pair.clean.swapped(0, 1)
        assert pair.changed.objects[0] == described
        assert pair.changed.objects[1].box == target.box


def test_mediation_pairs_are_seeded() -> None:
    assert mediation_pairs(20, 3) == mediation_pairs(20, 3)
    assert mediation_pairs(20, 3) != mediation_pairs(20, 4)
