"""Lessons that describe: objects, their places, or one feature of them."""

from __future__ import annotations

import numpy as np

from finst import prompts
from finst.builtin.organism.lessons.lesson import (
    DESCRIBE_WITH_PLACES,
    Feature,
    Lesson,
    Naming,
    Piece,
    caption,
    coloured,
    from_prompt,
    from_random_start,
    placed,
    random_placement,
    shaped,
)
from finst.builtin.organism.lessons.training_scenes import reading_order
from finst.prompts import DESCRIBE
from finst.scenes.object import Scene


def describe(rng: np.random.Generator, scene: Scene) -> Lesson:
    """All objects but one in random order; the last one is learned."""
    *described, target = (int(i) for i in rng.permutation(len(scene.objects)))
    return from_prompt(scene, prompts.scene_description(scene, described, target, random_placement(rng)))


def proceed(rng: np.random.Generator, scene: Scene) -> Lesson:
    """Some objects in random order; learned is the next one not yet described, in reading order after the last one.

    With one object left this is ``describe``; with more, counting colours and shapes no longer gives the answer.
    """
    *described, target = _some_and_next(rng, scene)
    return from_prompt(scene, prompts.scene_description(scene, described, target, random_placement(rng)))


def _some_and_next(rng: np.random.Generator, scene: Scene) -> list[int]:
    described = [int(i) for i in rng.permutation(len(scene.objects))[: rng.integers(1, len(scene.objects))]]
    order = reading_order(scene)
    after = order.index(described[-1]) + 1
    return [*described, next(index for index in order[after:] + order[:after] if index not in described)]


def successor(rng: np.random.Generator, scene: Scene) -> Lesson:
    """Reading order from a random start; a whole caption, or (user turn) the next object after some."""
    order = from_random_start(rng, scene)
    if random_placement(rng) == "prefill":
        learned = [rank > 0 for rank in range(len(order))]
        return Lesson(scene, (Piece(DESCRIBE),), caption(scene, order, learned))
    count = int(rng.integers(1, len(order)))
    return from_prompt(scene, prompts.scene_description(scene, order[:count], order[count], "user_turn"))


def grounded(rng: np.random.Generator, scene: Scene) -> Lesson:
    """A whole caption in reading order from a random start, every object followed by its place."""
    order = from_random_start(rng, scene)
    return _grounded(rng, scene, order, [rank > 0 for rank in range(len(order))])


def grounded_shuffled(rng: np.random.Generator, scene: Scene) -> Lesson:
    """As ``proceed``, every object followed by its place: the places and the last object are learned."""
    order = _some_and_next(rng, scene)
    return _grounded(rng, scene, order, [False] * (len(order) - 1) + [True])


def _grounded(rng: np.random.Generator, scene: Scene, order: list[int], learned: list[bool]) -> Lesson:
    if random_placement(rng) == "prefill":
        return Lesson(scene, (Piece(DESCRIBE_WITH_PLACES),), caption(scene, order, learned, placed))
    sentence = caption(scene, order, [False] * len(order), placed)[:-2]
    return Lesson(scene, sentence, (Piece(scene.objects[order[-1]].name, learned=True),))


def colours(rng: np.random.Generator, scene: Scene) -> Lesson:
    """Colours alone, in half of the scenes those of unnamed shapes: ``a red object, a blue object and a ...``."""
    return _one_feature(rng, scene, "colour", coloured)


def shapes(rng: np.random.Generator, scene: Scene) -> Lesson:
    """Shapes alone, in half of the scenes in unnamed colours: ``a color square, a color star and a color ...``."""
    return _one_feature(rng, scene, "shape", shaped)


def _one_feature(rng: np.random.Generator, scene: Scene, feature: Feature, naming: Naming) -> Lesson:
    """Reading order from a random object that this feature singles out; a description where there is none."""
    values = [getattr(obj, feature) for obj in scene.objects]
    order = reading_order(scene)
    starts = [rank for rank, index in enumerate(order) if values.count(values[index]) == 1]
    if not starts:
        return describe(rng, scene)
    start = int(rng.choice(starts))
    sentence = caption(scene, order[start:] + order[:start], [rank > 0 for rank in range(len(order))], naming)
    other: Feature = "shape" if feature == "colour" else "colour"
    return Lesson(scene, (Piece(DESCRIBE),), sentence, unnamed=other if rng.random() < 0.5 else None)
