"""Pictures of two things side by side: drawn here, rendered, or read from a folder (Fig 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from finst.scenes.designs import Features, mediation_pairs
from finst.scenes.draw import draw
from finst.scenes.object import Picture, Scene

SIDES = ("left", "right")
"""The sides of objects 0 and 1 of such a picture's scene: object 0 is left of object 1."""


ROWS = ("upper row", "lower row")
"""The rows of the 2x2 canvas."""


@runtime_checkable
class TwoThingPicture(Protocol):
    """A picture of two things. Words and places are known at once; pixels are loaded when ``picture`` is called."""

    @property
    def name(self) -> str:
        """The picture's name, unique in its set."""
        ...

    @property
    def environment(self) -> str:
        """The things' surroundings, such as ``beach``; ``white`` for drawings."""
        ...

    @property
    def things(self) -> tuple[Features, Features]:
        """(colour, kind) of the left and of the right thing; the colours differ."""
        ...

    @property
    def place(self) -> str:
        """At which of several heights both stand, such as ``upper row``; empty where a set has one height."""
        ...

    def picture(self) -> Picture:
        """Pixels, masks and boxes; object 0 is the left thing. Raises FinstError when the file is damaged."""
        ...


@dataclass(frozen=True)
class DrawnSided:
    """Two of the paper's shapes side by side on white."""

    name: str
    scene: Scene
    environment: str = "white"

    @property
    def things(self) -> tuple[Features, Features]:
        """(colour, shape) of the left and of the right object."""
        left, right = ((obj.colour, obj.shape) for obj in self.scene.objects)
        return left, right

    @property
    def place(self) -> str:
        """The row of the canvas in which both stand."""
        above, _ = self.scene.objects[0].cell or (0, 0)
        return ROWS[above]

    def picture(self) -> Picture:
        """The drawing of the scene by ``draw``."""
        return draw(self.scene)


def drawn_sided(count: int, seed: int) -> Sequence[DrawnSided]:
    """``count`` drawings on the 2x2 canvas, each followed by its mirror image: the same two objects swapped.

    So every colour, shape and conjunction is left and right equally often (exactly, for even counts).
    """
    pairs = mediation_pairs(-(-count // 2), seed)
    scenes = [scene for pair in pairs for scene in (pair.clean, pair.swapped)][:count]
    return [DrawnSided(f"drawn {index}", _left_first(scene)) for index, scene in enumerate(scenes)]


def _left_first(scene: Scene) -> Scene:
    """The scene with its objects numbered from left to right."""
    return Scene(scene.width, scene.height, tuple(sorted(scene.objects, key=lambda obj: obj.box[0])))
