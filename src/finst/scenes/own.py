"""Pictures of one's own, with the objects in them: what ``finst.picture`` makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps

from finst.errors import FinstError
from finst.scenes.object import Box, Obj, Picture, Scene

Area = Box | Bool[np.ndarray, "height width"]
"""Where an object is: its box (left, top, right, bottom) in px, right and bottom exclusive, or a mask of its pixels."""


def picture(image: Image.Image | np.ndarray, objects: Sequence[Any] = (), names: Sequence[str] = ()) -> Picture:
    """A picture of one's own, as ``encode`` takes it.

    ``image`` is a PIL image, turned upright if its EXIF data ask for it, or an array of 8-bit RGB values [height,
    width, 3]. ``objects`` are boxes (left, top, right, bottom) in px or masks [height, width] of True and False, one an
    object; ``names`` are what prompts call them, such as "red square": the last word is the noun, the words before it
    are the colour. Raises FinstError for an array of another type or shape, a box that leaves the picture, a mask of
    another size or without a pixel, and another number of names than of objects.
    """
    pixels = _pixels(image)
    height, width = pixels.shape[:2]
    if names and len(names) != len(objects):
        raise FinstError(f"{len(names)} names were given for {len(objects)} objects: expected one name an object")
    masks = [_mask(area, index, height, width) for index, area in enumerate(objects)]
    labels = names or [f"object {index}" for index in range(len(objects))]
    things = tuple(_object(label, mask) for label, mask in zip(labels, masks, strict=True))
    stacked = np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool)
    return Picture(Scene(width, height, things), pixels, stacked)


def _pixels(image: Any) -> UInt8[np.ndarray, "height width 3"]:
    if isinstance(image, Image.Image):
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise FinstError(
            f"the picture is an array of {array.dtype} with shape {array.shape}: expected 8-bit RGB values (uint8) "
            "with shape (height, width, 3), or a PIL image"
        )
    return array


def _mask(area: Any, index: int, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    array = np.asarray(area)
    if array.shape == (4,):
        left, top, right, bottom = (int(value) for value in array)
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise FinstError(
                f"object {index} has the box {(left, top, right, bottom)}: expected 0 <= left < right <= {width} and "
                f"0 <= top < bottom <= {height} px"
            )
        mask = np.zeros((height, width), dtype=bool)
        mask[top:bottom, left:right] = True
        return mask
    if array.shape != (height, width) or not np.isin(array, (0, 1)).all() or not array.any():
        raise FinstError(
            f"object {index} is an array of {array.dtype} with shape {array.shape}: expected a box (left, top, right, "
            f"bottom), or a mask with shape {(height, width)} of True and False that holds at least one pixel"
        )
    return array.astype(bool)


def _object(label: str, mask: Bool[np.ndarray, "height width"]) -> Obj:
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    colour, _, noun = label.strip().rpartition(" ")
    box = (int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1)
    return Obj(colour, noun, box)
