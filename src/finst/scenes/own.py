"""Pictures of one's own, with the objects in them: what ``finst.picture`` makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from finst.errors import FinstError
from finst.scenes.object import Box, Obj, Picture, Scene
from finst.scenes.read_picture import read_image

Area = Box | Bool[np.ndarray, "height width"]
"""Where an object is: its box (left, top, right, bottom) in px, right and bottom exclusive, or a mask of its pixels."""


def picture(image: Image.Image | np.ndarray, objects: Sequence[Any] = (), names: Sequence[str] = ()) -> Picture:
    """A picture of one's own, as ``encode`` takes it.

    ``image`` is a PIL image of any mode that ``to_rgb`` knows (its current frame, upright, on white), or an array of
    8-bit RGB values [height, width, 3]. ``objects`` are boxes (left, top, right, bottom) in px of the upright picture,
    or masks [height, width] of True and False, one an object; ``names`` are what prompts call them, such as "red
    square": the last word is the noun, the words before it are the colour.

    Raises FinstError for an image that cannot be shown, an array of another type or shape, a box that is not of whole
    px or leaves the picture, a mask of another size or without a pixel, two objects of the same pixels, and names that
    are empty or another number than the objects.
    """
    shown = read_image(image)
    height, width = shown.pixels.shape[:2]
    labels = _labels(names, len(objects))
    masks = [_mask(area, index, height, width) for index, area in enumerate(objects)]
    things = tuple(_object(label, mask) for label, mask in zip(labels, masks, strict=True))
    stacked = np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool)
    return Picture(Scene(width, height, things), shown.pixels, stacked, shown.notes)


def _labels(names: Sequence[str], count: int) -> Sequence[str]:
    if isinstance(names, str) or not all(isinstance(name, str) and name.strip() for name in names):
        raise FinstError(
            f"the names are {names!r}: expected a list of words, one name an object, such as ['red square']"
        )
    if names and len(names) != count:
        raise FinstError(f"{len(names)} names were given for {count} objects: expected one name an object")
    return names or [f"object {index}" for index in range(count)]


def _mask(area: Any, index: int, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    try:
        array = np.asarray(area)
    except (ValueError, TypeError, RuntimeError):
        array = np.empty(0, dtype=object)
    if array.shape == (4,):
        whole = _numbers(array) and bool((array == np.floor(array)).all()) and bool(np.isfinite(array).all())
        left, top, right, bottom = (int(value) for value in array) if whole else (0, 0, 0, 0)
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise FinstError(
                f"object {index} has the box {tuple(array.tolist())}: expected whole numbers with 0 <= left < right <= "
                f"{width} and 0 <= top < bottom <= {height} px"
            )
        mask = np.zeros((height, width), dtype=bool)
        mask[top:bottom, left:right] = True
        return mask
    if array.shape != (height, width) or not _numbers(array) or not np.isin(array, (0, 1)).all() or not array.any():
        raise FinstError(
            f"object {index} is an array of {array.dtype} with shape {array.shape}: expected a box (left, top, right, "
            f"bottom), or a mask with shape {(height, width)} of True and False that holds at least one pixel"
        )
    return array.astype(bool)


def _numbers(array: np.ndarray) -> bool:
    return array.dtype.kind in "iufb"


def _object(label: str, mask: Bool[np.ndarray, "height width"]) -> Obj:
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    colour, _, noun = label.strip().rpartition(" ")
    box = (int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1)
    return Obj(colour, noun, box)
