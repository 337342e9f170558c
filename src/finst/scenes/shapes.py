"""Colours and outlines of the paper's objects, and the share of each pixel that an outline covers."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from finst.errors import choice

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (40, 70, 220),
    "purple": (130, 40, 170),
    "yellow": (245, 220, 40),
    "orange": (250, 140, 20),
    "pink": (250, 130, 190),
    "cyan": (60, 210, 220),
    "brown": (130, 80, 40),
    "gray": (130, 130, 130),
}

Point = tuple[float, float]

_SUPERSAMPLING = 8


def _regular(corners: int, first: float) -> list[Point]:
    angles = [first + 2 * math.pi * k / corners for k in range(corners)]
    return [(math.cos(a), math.sin(a)) for a in angles]


def _star() -> list[Point]:
    radii = [1.0 if k % 2 == 0 else 0.42 for k in range(10)]
    angles = [-math.pi / 2 + math.pi * k / 5 for k in range(10)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def _heart() -> list[Point]:
    ts = [2 * math.pi * k / 240 for k in range(240)]
    return [
        (
            16 * math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)),
        )
        for t in ts
    ]


def _cross(arm: float = 0.34) -> list[Point]:
    a = arm
    return [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)]


OUTLINES: dict[str, list[Point]] = {
    "circle": _regular(180, 0.0),
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "triangle": [(0, -1), (1, 1), (-1, 1)],
    "star": _star(),
    "heart": _heart(),
    "cross": _cross(),
    "diamond": _regular(4, 0.0),
    "hexagon": _regular(6, 0.0),
}
"""Corner points of each shape, y downwards, in any unit: they are scaled to fill the object's box."""

SHAPES: tuple[str, ...] = tuple(OUTLINES)


@lru_cache(maxsize=256)
def coverage(shape: str, height: int, width: int) -> Float[np.ndarray, "height width"]:
    """Share, in [0, 1], of each pixel of a ``height`` x ``width`` px box that the shape covers (a read-only array).

    Raises FinstError for a shape that has no outline.
    """
    if shape not in OUTLINES:
        raise choice("shape", shape, SHAPES)
    points = np.asarray(OUTLINES[shape], dtype=float)
    low, high = points.min(0), points.max(0)
    scale = np.array([width, height]) * _SUPERSAMPLING
    corners = (points - low) / (high - low) * (scale - 1)
    fine = Image.new("L", (int(scale[0]), int(scale[1])), 0)
    ImageDraw.Draw(fine).polygon([(float(x), float(y)) for x, y in corners], fill=255)
    blocks = np.asarray(fine, dtype=np.float64).reshape(height, _SUPERSAMPLING, width, _SUPERSAMPLING)
    result = blocks.mean(axis=(1, 3)) / 255
    result.setflags(write=False)
    return result
