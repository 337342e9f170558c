"""Lessons that ask: a colour, a relation, a numbered list."""

from __future__ import annotations

import numpy as np

from finst import prompts
from finst.builtin.organism.lessons.descriptions import describe
from finst.builtin.organism.lessons.lesson import Lesson, from_prompt
from finst.builtin.organism.lessons.training_scenes import reading_order
from finst.prompts import STEPS, Relation
from finst.scenes.object import Scene


def singled_out(scene: Scene) -> list[int]:
    """The objects whose shape occurs once: those that a colour question can be about."""
    shapes = [obj.shape for obj in scene.objects]
    return [index for index, shape in enumerate(shapes) if shapes.count(shape) == 1]


def relations_of(scene: Scene) -> list[tuple[Relation, int]]:
    """All relations in which some object stands to a reference object, with the reference's index."""
    cells = {obj.cell for obj in scene.objects}
    return [
        (name, reference)
        for reference, obj in enumerate(scene.objects)
        if obj.cell is not None
        for name, (rows, cols) in STEPS.items()
        if (obj.cell[0] + rows, obj.cell[1] + cols) in cells
    ]


def colour(rng: np.random.Generator, scene: Scene) -> Lesson:
    """The colour of a shape that occurs once; a description where there is none."""
    unique = singled_out(scene)
    if not unique:
        return describe(rng, scene)
    return from_prompt(scene, prompts.colour_retrieval(scene, unique[int(rng.integers(len(unique)))]))


def relation(rng: np.random.Generator, scene: Scene) -> Lesson:
    """The colour of the object directly above, below, left or right of another; a description where there is none."""
    known = relations_of(scene)
    if not known:
        return describe(rng, scene)
    return from_prompt(scene, prompts.spatial_relation(scene, *known[int(rng.integers(len(known)))]))


def enumeration(rng: np.random.Generator, scene: Scene) -> Lesson:
    """A numbered list in reading order, then the count."""
    return from_prompt(scene, prompts.enumeration(scene, reading_order(scene)))
