"""Whether a picture, its masks and its scene belong together: checked once, when a ``Picture`` is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from finst.errors import FinstError
from finst.scenes.read_picture import check_pixels

if TYPE_CHECKING:
    from finst.scenes.object import Scene


def fitting_masks(scene: Scene, image: Any, masks: Any) -> Bool[np.ndarray, "object height width"]:
    """The masks as True and False, if they and the image belong to the scene.

    Raises FinstError unless the image is 8-bit RGB of the scene's size; there is one mask an object, each of the
    picture's size, of True and False (or 1 and 0), with at least one pixel, and none outside of its object's box; and
    no two objects have the same pixels.
    """
    pixels = check_pixels(image, "the picture")
    height, width = pixels.shape[:2]
    if (scene.width, scene.height) != (width, height):
        raise FinstError(
            f"the picture has {width}x{height} px and its scene {scene.width}x{scene.height}: expected one size"
        )
    array = _array(masks)
    expected = (len(scene.objects), height, width)
    if array.shape != expected:
        raise FinstError(
            f"the masks have the shape {array.shape}: expected {expected}, one mask for each of {len(scene.objects)} "
            "objects, of the picture's height and width"
        )
    if array.dtype != bool:
        if array.dtype.kind not in "iuf" or not np.isin(array, (0, 1)).all():
            raise FinstError(f"the masks are {_values(array)}: expected True and False, or 1 and 0")
        array = array.astype(bool)
    for index, (obj, mask) in enumerate(zip(scene.objects, array, strict=True)):
        _check_mask(f"object {index}, the {obj.name},", obj.box, mask)
        same = next((other for other in range(index) if np.array_equal(array[other], mask)), None)
        if same is not None:
            raise FinstError(
                f"objects {same} and {index} have the same pixels: expected a mask for each that shows where it is"
            )
    return array


def _array(masks: Any) -> np.ndarray:
    if isinstance(masks, np.ma.MaskedArray):
        raise FinstError("the masks are a masked array: expected a plain one of True and False")
    try:
        return np.asarray(masks)
    except (ValueError, TypeError, RuntimeError) as cause:
        raise FinstError("the masks are no array: expected one of True and False [object, height, width]") from cause


def _values(array: np.ndarray) -> str:
    if array.dtype.kind not in "iuf":
        return f"an array of {array.dtype}"
    return f"an array of {array.dtype} with values between {array.min():g} and {array.max():g}"


def _check_mask(what: str, box: tuple[int, int, int, int], mask: Bool[np.ndarray, "height width"]) -> None:
    if not mask.any():
        raise FinstError(f"the mask of {what} holds no pixel: expected at least one, where the object is seen")
    left, top, right, bottom = box
    if mask[top:bottom, left:right].sum() < mask.sum():
        rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        covers = (int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1)
        raise FinstError(
            f"the mask of {what} covers {covers} and its box is {box}: expected masks in the order of the scene's "
            "objects, each within its object's box"
        )
