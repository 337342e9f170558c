"""Lessons from which position IDs come, or do not: the same captions and questions under two factors.

``LeaveOneOut``: whether captions may come to the last object that is left, which can be had as what is seen minus what
is described. ``Places``: whether nouns are followed by their place, and whether that can be foreseen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from finst import prompts
from finst.builtin.organism.lessons.lesson import (
    DESCRIBE_WITH_PLACES,
    OPENING,
    Lesson,
    LessonMaker,
    Naming,
    Piece,
    caption,
    from_prompt,
    from_random_start,
    named,
    placed,
    places,
    random_placement,
)
from finst.builtin.organism.lessons.questions import enumeration, relations_of, singled_out
from finst.builtin.organism.lessons.training_scenes import reading_order
from finst.prompts import DESCRIBE
from finst.scenes.object import Obj, Scene

LeaveOneOut = Literal["never", "some", "only"]
"""never: at least two objects are undescribed whenever one is learned in a caption, and scenes of two objects are never
described; some: half of the captions of some objects leave one undescribed, and those in reading order run through to
the last; only: all captions describe all objects but one, which is learned."""

Places = Literal["mixed", "apart", "none"]
"""mixed: no, some or all nouns are followed by their place, under one instruction, so that no place can be foreseen;
apart: as many nouns are, in captions and questions whose own instruction foretells it; none: no place tokens."""

MIXED = ((0.0, 0.4), (0.5, 0.3), (1.0, 0.3))
"""(share of nouns with a place, probability) of a caption with ``mixed`` places."""

PLACED = sum(share * probability for share, probability in MIXED)
"""Share of nouns in captions that are followed by their place, ``mixed`` or ``apart``: 0.45."""

QUESTION = "In this image"
"""Both kinds of question open with this."""

QUESTION_WITH_PLACES = "In this image with places"


@dataclass(frozen=True)
class Grounding:
    """Which objects of a caption are followed by their place."""

    followed: tuple[bool, ...]
    foretold: bool
    """By the instruction."""

    @property
    def namings(self) -> list[Naming]:
        """One for each object of the caption."""
        return [placed if has_place else named for has_place in self.followed]


def grounding(rng: np.random.Generator, count: int, kind: Places) -> Grounding:
    """Drawn for a caption of ``count`` objects."""
    if kind == "none":
        return Grounding((False,) * count, False)
    if kind == "apart":
        foretold = bool(rng.random() < PLACED)
        return Grounding((foretold,) * count, foretold)
    share = _one_of(rng, MIXED)
    return Grounding(tuple((rng.random(count) < share).tolist()), False)


def _one_of(rng: np.random.Generator, weighted: Sequence[tuple[float, float]]) -> float:
    left = rng.random()
    for value, probability in weighted:
        left -= probability
        if left < 0:
            return value
    return weighted[-1][0]


def grounded_caption(
    rng: np.random.Generator, scene: Scene, order: Sequence[int], learned: Sequence[bool], kind: Places
) -> Lesson:
    """A caption of ``order`` in the assistant's turn, or in the user's as far as the last object, which is learned."""
    ground = grounding(rng, len(order), kind)
    if random_placement(rng) == "prefill":
        instruction = DESCRIBE_WITH_PLACES if ground.foretold else DESCRIBE
        return Lesson(scene, (Piece(instruction),), caption(scene, order, learned, ground.namings))
    opening = f" {OPENING}" if ground.foretold else OPENING
    whole = caption(scene, order, [False] * len(order), ground.namings, opening)
    unfinished = whole[: -2 if ground.followed[-1] else -1]
    user = (Piece(DESCRIBE_WITH_PLACES), *unfinished) if ground.foretold else unfinished
    return Lesson(scene, user, (Piece(scene.objects[order[-1]].name, learned=True),))


def some_then_next(rng: np.random.Generator, scene: Scene, kind: Places) -> Lesson:
    """Some objects in random order, then the next undescribed one in reading order; at least two stay undescribed.

    So what is seen minus what is described never gives the answer. A scene of two objects becomes a question.
    """
    count = len(scene.objects)
    if count < 3:
        return any_question(rng, scene, kind)
    described = rng.permutation(count)[: int(rng.integers(1, count - 1))].tolist()
    order = reading_order(scene)
    after = order.index(described[-1]) + 1
    target = next(index for index in order[after:] + order[:after] if index not in described)
    return grounded_caption(rng, scene, [*described, target], [False] * len(described) + [True], kind)


def all_but_one(rng: np.random.Generator, scene: Scene, kind: Places) -> Lesson:
    """All objects in random order; the last one is learned, which is what is seen minus what is described."""
    order = rng.permutation(len(scene.objects)).tolist()
    return grounded_caption(rng, scene, order, [False] * (len(order) - 1) + [True], kind)


def reading_on(rng: np.random.Generator, scene: Scene, kind: Places) -> Lesson:
    """Reading order from a random start, stopping before the last object; a scene of two becomes a question."""
    count = len(scene.objects)
    if count < 3:
        return any_question(rng, scene, kind)
    order = from_random_start(rng, scene)[: int(rng.integers(2, count))]
    return grounded_caption(rng, scene, order, [rank > 0 for rank in range(len(order))], kind)


def reading_through(rng: np.random.Generator, scene: Scene, kind: Places) -> Lesson:
    """Reading order from a random start, all objects."""
    order = from_random_start(rng, scene)
    return grounded_caption(rng, scene, order, [rank > 0 for rank in range(len(order))], kind)


def pointing(rng: np.random.Generator, scene: Scene, kind: Places) -> Lesson:
    """From places to objects, at most four and never all: ``In this image there is<|x3|><|y3|> a red square``.

    Without place tokens it is a question for what lies above, below, left or right of something.
    """
    if kind == "none":
        return relation_question(rng, scene, kind)
    count = len(scene.objects)
    order = rng.permutation(count)[: int(rng.integers(1, min(5, count)))].tolist()
    pieces = [Piece(OPENING)]
    for rank, obj in enumerate(scene.objects[index] for index in order):
        joint = "" if rank == 0 else " and" if rank == len(order) - 1 else ","
        pieces += [Piece(joint + places(obj)), Piece(" a"), *named(obj, True)]
    instruction = DESCRIBE_WITH_PLACES if kind == "apart" else DESCRIBE
    return Lesson(scene, (Piece(instruction),), tuple(pieces))


def colour_question(rng: np.random.Generator, scene: Scene, kind: Places) -> Lesson:
    """The colour of a shape that occurs once; in half of them the noun is followed by its place, which is learned."""
    unique = singled_out(scene)
    if not unique:
        return pointing(rng, scene, kind)
    target = unique[int(rng.integers(len(unique)))]
    lesson = from_prompt(scene, prompts.colour_retrieval(scene, target))
    return _with_place(rng, lesson, scene.objects[target], kind)


def relation_question(rng: np.random.Generator, scene: Scene, kind: Places) -> Lesson:
    """The colour of what lies directly above, below, left or right of a reference; half of them as in colours.

    Where nothing does, it is an object to point to or, without place tokens, a list.
    """
    known = relations_of(scene)
    if not known:
        return enumeration(rng, scene) if kind == "none" else pointing(rng, scene, kind)
    name, reference = known[int(rng.integers(len(known)))]
    lesson = from_prompt(scene, prompts.spatial_relation(scene, name, reference))
    return _with_place(rng, lesson, scene.objects[reference], kind)


def _with_place(rng: np.random.Generator, lesson: Lesson, obj: Obj, kind: Places) -> Lesson:
    if kind == "none" or rng.random() < 0.5:
        return lesson
    text = lesson.user[0].text
    if kind == "apart":
        text = text.replace(QUESTION, QUESTION_WITH_PLACES, 1)
    noun = f" {obj.shape}."
    cut = text.rindex(noun) + len(noun) - 1
    user = (Piece(text[:cut]), Piece(places(obj), learned=True), Piece(text[cut:]))
    return Lesson(lesson.scene, user, lesson.assistant)


def any_question(rng: np.random.Generator, scene: Scene, kind: Places) -> Lesson:
    """What is made of a scene that is too small for a caption: an object to point to, or a colour."""
    return pointing(rng, scene, kind) if rng.random() < 0.5 else colour_question(rng, scene, kind)


Family = Callable[[np.random.Generator, Scene, Places], Lesson]
"""A kind of lesson that comes with all three values of ``Places``."""

FAMILIES: dict[str, Family] = {
    "some_then_next": some_then_next,
    "all_but_one": all_but_one,
    "reading_on": reading_on,
    "reading_through": reading_through,
    "pointing": pointing,
    "colour_question": colour_question,
    "relation_question": relation_question,
}


def maker(family: Family, kind: Places) -> LessonMaker:
    """``family`` with one value of ``Places``."""
    return lambda rng, scene: family(rng, scene, kind)


def lesson_name(family: str, kind: Places) -> str:
    """``reading_on, places mixed``."""
    return f"{family}, places {kind}"
