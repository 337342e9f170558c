"""A lesson: a scene and a text about it, with the stretches of text that carry the loss.

A lesson's text is a list of pieces. Each piece is either given or learned; only learned pieces enter the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from finst.builtin.organism.architecture import PATCH_PX
from finst.builtin.organism.lessons.training_scenes import reading_order
from finst.builtin.organism.tokenizer import place
from finst.options import Placement
from finst.prompts import Prompt
from finst.scenes.object import Obj, Scene

DESCRIBE_WITH_PLACES = "Describe the image with places."

OPENING = "In this image there is"


@dataclass(frozen=True)
class Piece:
    """Consecutive text; ``learned`` when the loss covers it."""

    text: str
    learned: bool = False


Feature = Literal["colour", "shape"]


@dataclass(frozen=True)
class Lesson:
    """A scene and a conversation about it: the user's pieces after the image, then the assistant's."""

    scene: Scene
    user: tuple[Piece, ...]
    assistant: tuple[Piece, ...] = field(default=())
    unnamed: Feature | None = None
    """Every object is painted in some colour, or as some shape, that has no name, instead of the scene's own."""


LessonMaker = Callable[[np.random.Generator, Scene], Lesson]
"""Makes one lesson about a scene."""


def from_prompt(scene: Scene, prompt: Prompt) -> Lesson:
    """The lesson of a prompt: only its answer is learned."""
    assistant = (Piece(prompt.prefill), Piece(prompt.continuation(prompt.answer), learned=True))
    return Lesson(scene, (Piece(prompt.user),), assistant if prompt.prefill else assistant[1:])


def places(obj: Obj) -> str:
    """The two place tokens of an object: column and row of the 28-px patch that holds its centre."""
    left, top, right, bottom = obj.box
    return place("x", (left + right) // 2 // PATCH_PX) + place("y", (top + bottom) // 2 // PATCH_PX)


Naming = Callable[[Obj, bool], tuple[Piece, ...]]
"""Writes an object's name into a caption; the second argument is whether the name is learned."""


def named(obj: Obj, learned: bool) -> tuple[Piece, ...]:
    """``a red square``."""
    return (Piece(f" {obj.name}", learned),)


def placed(obj: Obj, learned: bool) -> tuple[Piece, ...]:
    """``a red square<|x3|><|y3|>``; the place is always learned."""
    return (*named(obj, learned), Piece(places(obj), learned=True))


def coloured(obj: Obj, learned: bool) -> tuple[Piece, ...]:
    """``a red object``."""
    return Piece(f" {obj.colour}", learned), Piece(" object")


def shaped(obj: Obj, learned: bool) -> tuple[Piece, ...]:
    """``a color square``."""
    return Piece(" color"), Piece(f" {obj.shape}", learned)


def caption(
    scene: Scene,
    order: Sequence[int],
    learned: Sequence[bool],
    naming: Naming | Sequence[Naming] = named,
    opening: str = OPENING,
) -> tuple[Piece, ...]:
    """``In this image there is a red square, a blue circle and a green star``, over all of ``order``.

    ``naming`` is that of all objects, or one for each object of ``order``.
    """
    namings = [naming] * len(order) if callable(naming) else naming
    pieces = [Piece(opening)]
    for rank, (index, name) in enumerate(zip(order, namings, strict=True)):
        joint = "" if rank == 0 else " and" if rank == len(order) - 1 else ","
        pieces += [Piece(f"{joint} a"), *name(scene.objects[index], learned[rank])]
    return tuple(pieces)


def random_placement(rng: np.random.Generator) -> Placement:
    """Either, equally often."""
    return "prefill" if rng.random() < 0.5 else "user_turn"


def from_random_start(rng: np.random.Generator, scene: Scene) -> list[int]:
    """All object indices in reading order, from a random one on and around."""
    order = reading_order(scene)
    start = int(rng.integers(len(order)))
    return order[start:] + order[:start]
