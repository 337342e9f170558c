"""Scenes: objects, each with a colour and a shape, at places in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from jaxtyping import Bool

from finst.errors import FinstError
from finst.scenes.fit import fitting_masks
from finst.scenes.shapes import coverage

Cell = tuple[int, int]
"""(row, column) on a grid, counted from the top left."""

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in px; right and bottom are exclusive."""

OBJECT_PX = 56
"""Side of an object: 2x2 merged patches of 28 px in the Qwen family (paper, section "Scenes")."""


@dataclass(frozen=True)
class Grid:
    """Cells for objects of ``OBJECT_PX``, with gaps of ``OBJECT_PX`` between and around them.

    So every object covers whole 28-px patches; 2x2 gives the paper's 280x280 px canvas and 3x3 its 392x392 px.
    """

    rows: int
    cols: int

    @classmethod
    def parse(cls, text: str) -> Grid:
        """``"3x2"`` -> 3 rows, 2 columns. Raises FinstError for anything else."""
        rows, _, cols = text.partition("x")
        if not (rows.isdecimal() and cols.isdecimal() and int(rows) and int(cols)):
            raise FinstError(f"unknown grid {text!r}: expected ROWSxCOLUMNS such as 2x2, 3x3 or 3x2")
        return cls(int(rows), int(cols))

    @property
    def width(self) -> int:
        """Width of the canvas in px."""
        return OBJECT_PX * (2 * self.cols + 1)

    @property
    def height(self) -> int:
        """Height of the canvas in px."""
        return OBJECT_PX * (2 * self.rows + 1)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells in reading order."""
        return tuple((row, col) for row in range(self.rows) for col in range(self.cols))

    def box(self, cell: Cell, dx: int = 0, dy: int = 0) -> Box:
        """The box of an object in ``cell``, shifted by ``dx``, ``dy`` px. Raises FinstError for another cell."""
        if cell not in self.cells:
            raise FinstError(f"cell {cell} is not on the {self.rows}x{self.cols} grid")
        left, top = OBJECT_PX * (2 * cell[1] + 1) + dx, OBJECT_PX * (2 * cell[0] + 1) + dy
        return left, top, left + OBJECT_PX, top + OBJECT_PX


@dataclass(frozen=True)
class Obj:
    """One object. ``cell`` is None when it was placed freely.

    ``colour`` and ``shape`` are words. ``draw`` needs those of ``shapes.COLOURS`` and ``shapes.SHAPES``; renders show
    other things, such as a white duck.
    """

    colour: str
    shape: str
    box: Box
    cell: Cell | None = None

    @property
    def name(self) -> str:
        """Colour and shape as prompts and answers write them: ``"red circle"``."""
        return f"{self.colour} {self.shape}"

    @property
    def mask(self) -> Bool[np.ndarray, "box_height box_width"]:
        """Pixels, within the object's box, of which the drawn shape covers at least half.

        Raises FinstError for a shape that ``draw`` does not draw.
        """
        left, top, right, bottom = self.box
        return coverage(self.shape, bottom - top, right - left) >= 0.5


@dataclass(frozen=True)
class Scene:
    """Objects on a canvas of ``width`` x ``height`` px, later ones in front.

    Raises FinstError for a canvas without a pixel, a box that is not four whole numbers, and one that leaves the
    canvas.
    """

    width: int
    height: int
    objects: tuple[Obj, ...]

    def __post_init__(self) -> None:
        if not (_whole(self.width, self.height) and self.width > 0 and self.height > 0):
            raise FinstError(f"a canvas of {self.width}x{self.height} px: expected whole numbers of at least 1 px")
        for obj in self.objects:
            if len(obj.box) != 4 or not _whole(*obj.box):
                raise FinstError(
                    f"the {obj.name} has the box {obj.box}: expected four whole numbers (left, top, right, bottom)"
                )
            left, top, right, bottom = obj.box
            if not (0 <= left < right <= self.width and 0 <= top < bottom <= self.height):
                raise FinstError(
                    f"the {obj.name} with box {obj.box} is off the canvas: "
                    f"expected 0 <= left < right <= {self.width} and 0 <= top < bottom <= {self.height} px"
                )

    def with_object(self, index: int, **changes: object) -> Scene:
        """The same scene with fields of one object changed."""
        changed = replace(self.objects[index], **changes)  # pyright: ignore[reportArgumentType]
        return replace(self, objects=(*self.objects[:index], changed, *self.objects[index + 1 :]))

    def swapped(self, first: int, second: int) -> Scene:
        """The same scene with the places of two objects exchanged; indices belong to the same objects as before."""
        a, b = self.objects[first], self.objects[second]
        moved = self.with_object(first, box=b.box, cell=b.cell)
        return moved.with_object(second, box=a.box, cell=a.cell)


def _whole(*values: Any) -> bool:
    return all(isinstance(value, Integral) and not isinstance(value, bool) for value in values)


@dataclass(frozen=True, eq=False)
class Picture:
    """A scene as pixels: the result of all renderers and the input of encoding.

    Raises FinstError for an image that is not 8-bit RGB, and for an image, masks and a scene that do not belong
    together (see ``fitting_masks``). ``finst.picture`` makes one of other images.
    """

    scene: Scene
    image: np.ndarray
    """8-bit RGB [height, width, 3]."""
    masks: np.ndarray
    """Visible pixels of each object of the scene: True and False [object, height, width]."""
    notes: tuple[str, ...] = ()
    """What was done to the file or image to show it, in words, such as ``frame 1 of 12``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "masks", fitting_masks(self.scene, self.image, self.masks))


def on_grid(features: Sequence[tuple[str, str]], cells: Sequence[Cell], grid: Grid) -> Scene:
    """A scene with the i-th (colour, shape) of ``features`` in the i-th of ``cells``."""
    objects = [Obj(colour, shape, grid.box(cell), cell) for (colour, shape), cell in zip(features, cells, strict=True)]
    return Scene(grid.width, grid.height, tuple(objects))
