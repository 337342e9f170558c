"""Pictures of one's own become what a model is shown, or are refused with what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from finst import FinstError, picture
from finst.scenes.draw import draw
from finst.scenes.object import Grid, on_grid

WHITE = np.full((40, 60, 3), 255, dtype=np.uint8)


def test_boxes_become_masks_and_names_become_words() -> None:
    made = picture(WHITE, [(10, 5, 20, 25), (30, 0, 60, 40)], ["dark red square", "camel"])
    assert made.masks.shape == (2, 40, 60)
    assert made.masks.sum(axis=(1, 2)).tolist() == [200, 1200]
    first, second = made.scene.objects
    assert (first.colour, first.shape, first.box) == ("dark red", "square", (10, 5, 20, 25))
    assert (second.colour, second.shape) == ("", "camel")
    assert (made.scene.width, made.scene.height) == (60, 40)


def test_masks_are_kept_and_give_their_boxes() -> None:
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[3, 7] = mask[9, 11] = 1
    made = picture(WHITE, [mask])
    assert np.array_equal(made.masks[0], mask.astype(bool))
    assert made.scene.objects[0].box == (7, 3, 12, 10)


def test_a_drawn_picture_and_its_own_masks_come_back_unchanged() -> None:
    drawn = draw(on_grid([("red", "circle"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2)))
    again = picture(drawn.image, list(drawn.masks), [obj.name for obj in drawn.scene.objects])
    assert np.array_equal(again.image, drawn.image)
    assert np.array_equal(again.masks, drawn.masks)


def test_pil_images_are_turned_upright_and_made_rgb() -> None:
    grey, turned = (Image.new("L", (60, 40), 200) for _ in range(2))
    turned.getexif()[0x0112] = 6
    assert picture(grey).image.shape == (40, 60, 3)
    assert picture(turned).image.shape == (60, 40, 3)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (WHITE / 255.0, "array of float64"),
        (WHITE[..., 0], r"shape \(40, 60\)"),
        (np.zeros((40, 60, 4), np.uint8), r"shape \(40, 60, 4\)"),
        (np.zeros((0, 60, 3), np.uint8), r"shape \(0, 60, 3\)"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(image: np.ndarray, expected: str) -> None:
    with pytest.raises(FinstError, match=expected):
        picture(image)


@pytest.mark.parametrize(
    "area",
    [
        (0, 0, 61, 10),
        (5, 5, 5, 10),
        (-1, 0, 5, 5),
        np.zeros((40, 60), bool),
        np.ones((60, 40), bool),
        np.full((40, 60), 2),
        np.full((40, 60), 0.5),
        (0.5, 0, 5, 5),
        (np.nan, 0, 5, 5),
        ("a", "b", "c", "d"),
        (0, 0, 5),
        [[1], [1, 2]],
        None,
    ],
)
def test_areas_that_are_nowhere_are_refused(area: object) -> None:
    with pytest.raises(FinstError, match="object 0"):
        picture(WHITE, [area])


def test_names_and_objects_go_together() -> None:
    with pytest.raises(FinstError, match="1 names were given for 2 objects"):
        picture(WHITE, [(0, 0, 5, 5), (10, 10, 15, 15)], ["cat"])


def test_boxes_of_whole_floats_are_boxes() -> None:
    assert picture(WHITE, [(0.0, 0.0, 5.0, 5.0)]).scene.objects[0].box == (0, 0, 5, 5)


def test_two_objects_in_one_place_are_refused() -> None:
    with pytest.raises(FinstError, match="objects 0 and 1 have the same pixels"):
        picture(WHITE, [(0, 0, 5, 5), (0, 0, 5, 5)])
    assert picture(WHITE, [(0, 0, 5, 5), (0, 0, 9, 9)]).masks.sum(axis=(1, 2)).tolist() == [25, 81]


@pytest.mark.parametrize("names", ["red", [""], [" "]])
def test_names_without_a_word_are_refused(names: Any) -> None:
    with pytest.raises(FinstError, match="expected a list of words"):
        picture(WHITE, [(0, 0, 5, 5)], names)


def test_what_was_done_to_an_image_is_noted() -> None:
    assert picture(WHITE).notes == ()
    assert picture(Image.new("RGBA", (3, 2), (0, 0, 0, 0))).notes == ("transparent parts are white",)
