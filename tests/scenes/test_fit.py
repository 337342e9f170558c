"""A picture, its masks and its scene fit each other, or are refused with what was expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from finst.errors import FinstError
from finst.scenes.draw import draw
from finst.scenes.fit import fitting_masks
from finst.scenes.object import Grid, Obj, Picture, Scene, on_grid

DRAWN = draw(on_grid([("red", "circle"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2)))
EMPTY = np.zeros_like(DRAWN.masks)
OFF = np.roll(DRAWN.masks, 20, axis=2)

IMAGES: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "float in 0 to 1": (lambda a: (a / 255).astype(np.float32), r"float32 .*expected 8-bit RGB.*np\.rint\(255"),
    "float in 0 to 255": (lambda a: a.astype(float), "float64 .*expected 8-bit RGB"),
    "bool": (lambda a: a > 127, "bool .*expected 8-bit RGB"),
    "channels first": (lambda a: a.transpose(2, 0, 1), r"\(3, 280, 280\).*expected 8-bit RGB.*transpose"),
    "16 bits": (lambda a: a.astype(np.uint16) * 257, "uint16 .*expected 8-bit RGB.*257"),
    "grey": (lambda a: a[..., 0], r"\(280, 280\).*expected 8-bit RGB"),
    "alpha": (lambda a: np.concatenate([a, a[..., :1]], axis=2), r"\(280, 280, 4\).*expected 8-bit RGB"),
    "not finite": (lambda a: np.full(a.shape, np.nan), "not finite"),
    "other size": (lambda a: a[:-1], "280x279 px and its scene 280x280: expected one size"),
    "empty": (lambda a: a[:0], r"\(0, 280, 3\)"),
}

MASKS: dict[str, tuple[Any, str]] = {
    "one too few": (DRAWN.masks[:1], r"\(1, 280, 280\): expected \(2, 280, 280\), one mask for each of 2 objects"),
    "one too many": (np.concatenate([DRAWN.masks, DRAWN.masks[:1]]), r"\(3, 280, 280\): expected \(2, 280, 280\)"),
    "other size": (DRAWN.masks[:, :-1], r"\(2, 279, 280\): expected \(2, 280, 280\)"),
    "one for all": (DRAWN.masks[0], r"\(280, 280\): expected \(2, 280, 280\)"),
    "of 255": (DRAWN.masks.astype(np.uint8) * 255, "uint8 with values between 0 and 255: expected True and False"),
    "shares": (DRAWN.masks * 0.5, "float64 with values between 0 and 0.5: expected True and False, or 1 and 0"),
    "not finite": (np.where(DRAWN.masks, np.nan, 0), "expected True and False, or 1 and 0"),
    "words": (np.where(DRAWN.masks, "a", ""), "an array of <U1: expected True and False"),
    "without a pixel": (EMPTY, "mask of object 0, the red circle, holds no pixel: expected at least one"),
    "in another order": (DRAWN.masks[::-1], "mask of object 0, the red circle, covers .* expected masks in the order"),
    "outside of its box": (OFF, r"covers \(76, 56, 132, 112\) and its box is \(56, 56, 112, 112\)"),
    "masked": (np.ma.masked_equal(DRAWN.masks, False), "masked array"),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images_of_other_kinds_are_refused(kind: str) -> None:
    change, expected = IMAGES[kind]
    with pytest.raises(FinstError, match=expected):
        Picture(DRAWN.scene, change(DRAWN.image), DRAWN.masks)


@pytest.mark.parametrize("kind", MASKS)
def test_masks_that_do_not_fit_are_refused(kind: str) -> None:
    masks, expected = MASKS[kind]
    with pytest.raises(FinstError, match=expected):
        Picture(DRAWN.scene, DRAWN.image, masks)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_masks_of_1_and_0_are_true_and_false(dtype: type) -> None:
    made = Picture(DRAWN.scene, DRAWN.image, DRAWN.masks.astype(dtype))
    assert made.masks.dtype == bool
    assert np.array_equal(made.masks, DRAWN.masks)


def test_what_is_no_array_is_refused() -> None:
    for masks, expected in (([[1], [1, 2]], "no array: expected one of"), (None, r"shape \(\): expected")):
        with pytest.raises(FinstError, match=expected):
            fitting_masks(DRAWN.scene, DRAWN.image, masks)
    with pytest.raises(FinstError, match="expected 8-bit RGB"):
        fitting_masks(DRAWN.scene, None, DRAWN.masks)


def test_two_objects_with_one_mask_are_refused() -> None:
    scene = Scene(20, 20, (Obj("red", "cat", (0, 0, 9, 9)), Obj("red", "dog", (0, 0, 9, 9))))
    masks = np.zeros((2, 20, 20), dtype=bool)
    masks[:, 2:5, 2:5] = True
    with pytest.raises(FinstError, match="objects 0 and 1 have the same pixels: expected a mask for each"):
        Picture(scene, np.zeros((20, 20, 3), np.uint8), masks)
    masks[1, 4, 4] = False
    assert Picture(scene, np.zeros((20, 20, 3), np.uint8), masks).masks.sum() == 17


def test_a_scene_without_objects_has_no_masks() -> None:
    image = np.zeros((5, 7, 3), np.uint8)
    assert Picture(Scene(7, 5, ()), image, np.zeros((0, 5, 7), bool)).masks.shape == (0, 5, 7)
    with pytest.raises(FinstError, match=r"expected \(0, 5, 7\)"):
        Picture(Scene(7, 5, ()), image, np.zeros((0, 7, 5), bool))
    with pytest.raises(FinstError, match=r"expected \(0, 5, 7\)"):
        Picture(Scene(7, 5, ()), image, np.ones((1, 5, 7), bool))


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (lambda: Scene(0, 5, ()), "0x5 px: expected whole numbers of at least 1 px"),
        (lambda: Scene(5, -1, ()), "5x-1 px"),
        (lambda: Scene(9, 9, (Obj("red", "cat", (0, 0, 4, 10)),)), "off the canvas"),
    ],
)
def test_scenes_of_impossible_sizes_are_refused(scene: Callable[[], Scene], expected: str) -> None:
    with pytest.raises(FinstError, match=expected):
        scene()
