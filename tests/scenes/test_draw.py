"""Pixels and masks of drawings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finst.scenes.designs import free_scene, grid_scene
from finst.scenes.draw import draw
from finst.scenes.object import OBJECT_PX, Grid, Obj, Scene
from finst.scenes.shapes import COLOURS, SHAPES, coverage

seeds = st.integers(0, 2**32 - 1)
shapes = st.sampled_from(SHAPES)


def a_scene(seed: int) -> Scene:
    rng = np.random.default_rng(seed)
    if seed % 2:
        return free_scene(rng, 280, 392, 4)
    return grid_scene(rng, Grid(3, 2), 5, jitter_px=9)


def runs(row: np.ndarray) -> int:
    """Number of separate stretches of covered pixels in a row."""
    return int((np.diff(np.concatenate([[False], row >= 0.5]).astype(int)) == 1).sum())


def test_the_papers_colours_and_shapes() -> None:
    assert len(COLOURS) == len(set(COLOURS.values())) == 10
    assert set(SHAPES) == {"circle", "square", "triangle", "star", "heart", "cross", "diamond", "hexagon"}


@given(seeds)
def test_equal_scenes_give_equal_bytes(seed: int) -> None:
    first, second = draw(a_scene(seed)), draw(a_scene(seed))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.masks.tobytes() == second.masks.tobytes()


@given(seeds)
def test_masks_are_the_drawn_pixels(seed: int) -> None:
    scene = a_scene(seed)
    picture = draw(scene)
    distance = 255.0 - picture.image.astype(float)
    for obj, mask in zip(scene.objects, picture.masks, strict=True):
        left, top, right, bottom = obj.box
        outside = mask.copy()
        outside[top:bottom, left:right] = False
        assert not outside.any()
        full = 255.0 - np.array(COLOURS[obj.colour], dtype=float)
        inked = (distance[top:bottom, left:right] @ full) / (full @ full)
        certain = abs(inked - 0.5) > 0.02
        np.testing.assert_array_equal((inked > 0.5)[certain], mask[top:bottom, left:right][certain])
        np.testing.assert_array_equal(mask[top:bottom, left:right], obj.mask)


@given(seeds)
def test_everything_else_is_white(seed: int) -> None:
    scene = a_scene(seed)
    picture = draw(scene)
    background = np.ones(picture.image.shape[:2], dtype=bool)
    for left, top, right, bottom in (obj.box for obj in scene.objects):
        background[top:bottom, left:right] = False
    assert (picture.image[background] == 255).all()


@given(shapes, st.sampled_from(list(COLOURS)))
def test_the_inside_has_the_named_colour_and_the_rim_is_smooth(shape: str, colour: str) -> None:
    box = (28, 56, 28 + OBJECT_PX, 56 + OBJECT_PX)
    crop = draw(Scene(140, 168, (Obj(colour, shape, box),))).image[56:112, 28:84]
    covered = coverage(shape, OBJECT_PX, OBJECT_PX)
    assert (crop[covered == 1] == COLOURS[colour]).all()
    partial = (covered > 0) & (covered < 1)
    assert partial.any() == (shape != "square")


def test_an_object_in_front_hides_the_object_behind() -> None:
    behind, front = Obj("red", "square", (0, 0, 56, 56)), Obj("blue", "circle", (28, 28, 84, 84))
    picture = draw(Scene(84, 84, (behind, front)))
    assert not (picture.masks[0] & picture.masks[1]).any()
    assert (picture.image[picture.masks[0] & (np.arange(84) < 28)] == COLOURS["red"]).all()
    assert tuple(picture.image[56, 56]) == COLOURS["blue"]
    np.testing.assert_array_equal(picture.masks[1][28:, 28:], front.mask)


@given(shapes, st.integers(20, 90), st.integers(20, 90))
def test_shapes_fill_their_box(shape: str, height: int, width: int) -> None:
    covered = coverage(shape, height, width)
    assert covered.min() >= 0
    assert covered.max() == 1
    for edge in (covered[0], covered[-1], covered[:, 0], covered[:, -1]):
        assert edge.max() > 0


@given(shapes)
def test_shapes_are_symmetric_left_to_right(shape: str) -> None:
    covered = coverage(shape, OBJECT_PX, OBJECT_PX)
    assert abs(covered - covered[:, ::-1]).max() < 0.3
    assert abs((covered - covered[:, ::-1]).mean()) < 0.01


def test_shapes_differ_visibly() -> None:
    masks = [coverage(shape, OBJECT_PX, OBJECT_PX) >= 0.5 for shape in SHAPES]
    for i, mask in enumerate(masks):
        for other in masks[:i]:
            assert (mask ^ other).mean() > 0.05


def test_a_cross_is_upright() -> None:
    covered = coverage("cross", OBJECT_PX, OBJECT_PX)
    middle = OBJECT_PX // 2
    assert covered[:, middle].min() == covered[middle].min() == 1
    for corner in (covered[:12, :12], covered[:12, -12:], covered[-12:, :12], covered[-12:, -12:]):
        assert corner.max() == 0


def test_a_heart_has_two_lobes_above_and_a_tip_below() -> None:
    covered = coverage("heart", OBJECT_PX, OBJECT_PX)
    assert runs(covered[2]) == 2
    assert runs(covered[-4]) == 1
    assert (covered[-4] >= 0.5).sum() < OBJECT_PX / 5
    tip = np.flatnonzero(covered[-1])
    assert abs(tip.mean() - (OBJECT_PX - 1) / 2) < 2


@pytest.mark.parametrize("shape", ["triangle", "star"])
def test_a_triangle_and_a_star_point_up(shape: str) -> None:
    covered = coverage(shape, OBJECT_PX, OBJECT_PX)
    assert (covered[3] >= 0.5).sum() < OBJECT_PX / 5
    assert runs(covered[3]) == 1
    assert abs(np.flatnonzero(covered[3]).mean() - (OBJECT_PX - 1) / 2) < 1


def test_a_circle_is_round() -> None:
    ys, xs = np.mgrid[:OBJECT_PX, :OBJECT_PX] - (OBJECT_PX - 1) / 2
    covered = coverage("circle", OBJECT_PX, OBJECT_PX)
    radius = np.hypot(ys, xs)
    assert (covered[radius < OBJECT_PX / 2 - 1.5] == 1).all()
    assert (covered[radius > OBJECT_PX / 2 + 1] == 0).all()


def test_coverage_cannot_be_changed_by_its_users() -> None:
    with pytest.raises(ValueError, match="read-only"):
        coverage("circle", 56, 56)[0, 0] = 1.0
