"""Draws scenes: anti-aliased pixels, the same bytes every time."""

from __future__ import annotations

import numpy as np

from finst.errors import choice
from finst.scenes.object import Picture, Scene
from finst.scenes.shapes import COLOURS, coverage


def draw(scene: Scene) -> Picture:
    """Draws the objects in order on white.

    A mask holds the pixels of which its object covers at least half and no object in front of it does. Raises
    FinstError for a colour or shape that is not one of ``shapes.COLOURS`` and ``shapes.SHAPES``.
    """
    image = np.full((scene.height, scene.width, 3), 255.0)
    masks = np.zeros((len(scene.objects), scene.height, scene.width), dtype=bool)
    for index, obj in enumerate(scene.objects):
        if obj.colour not in COLOURS:
            raise choice("colour", obj.colour, COLOURS)
        left, top, right, bottom = obj.box
        inside = coverage(obj.shape, bottom - top, right - left)
        canvas = image[top:bottom, left:right]
        canvas += inside[..., None] * (np.array(COLOURS[obj.colour]) - canvas)
        masks[:index, top:bottom, left:right] &= inside < 0.5
        masks[index, top:bottom, left:right] = inside >= 0.5
    return Picture(scene, np.rint(image).astype(np.uint8), masks)
