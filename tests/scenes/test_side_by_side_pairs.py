"""Drawn pictures of two things: mirrored pairs, balanced sides, and scenes numbered from left to right."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from finst.scenes.draw import draw
from finst.scenes.side_by_side_pairs import SIDES, TwoThingPicture, drawn_sided


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_the_number_and_the_names_of_pictures(count: int) -> None:
    pictures = drawn_sided(count, 0)
    assert len(pictures) == len({picture.name for picture in pictures}) == count
    assert all(isinstance(picture, TwoThingPicture) for picture in pictures)
    assert {picture.environment for picture in pictures} == {"white"}


def test_every_picture_is_followed_by_its_mirror_image() -> None:
    pictures = drawn_sided(40, 3)
    for first, mirrored in zip(pictures[::2], pictures[1::2], strict=True):
        assert mirrored.things == first.things[::-1]
        assert [obj.box for obj in mirrored.scene.objects] == [obj.box for obj in first.scene.objects]
    left, right = (Counter(picture.things[side] for picture in pictures) for side in range(len(SIDES)))
    assert left == right


def test_object_0_is_on_the_left_and_colours_differ() -> None:
    for drawn in drawn_sided(12, 1):
        left, right = drawn.scene.objects
        assert left.box[2] <= right.box[0]
        assert drawn.things == ((left.colour, left.shape), (right.colour, right.shape))
        assert left.colour != right.colour


def test_pixels_are_those_of_the_drawn_scene() -> None:
    (drawn,) = drawn_sided(1, 0)
    picture, expected = drawn.picture(), draw(drawn.scene)
    assert np.array_equal(picture.image, expected.image)
    assert np.array_equal(picture.masks, expected.masks)


def test_sets_are_those_of_their_seed() -> None:
    assert [picture.things for picture in drawn_sided(8, 0)] == [picture.things for picture in drawn_sided(8, 0)]
    assert [picture.things for picture in drawn_sided(8, 0)] != [picture.things for picture in drawn_sided(8, 1)]
