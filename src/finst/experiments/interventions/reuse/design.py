"""Spatial questions on the 3x3 grid, balanced over relations and cells (Fig 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finst.experiments.interventions.reuse.spec import ReuseSpec
from finst.prompts import STEPS, Prompt, Relation, spatial_relation
from finst.scenes.designs import features
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Scene, on_grid
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import Reader

GRID = Grid(3, 3)

ROLES = ("answer", "elsewhere", "reference", "other", "none")
"""Whose colour is named: the answer's, that of the cell whose ID is written instead, that of the question's reference,
another object's, or none of the scene's."""


@dataclass(frozen=True)
class SpatialQuestion:
    """A question for the colour next to an object; objects are numbered as the grid's cells."""

    scene: Scene
    prompt: Prompt
    relation: Relation
    answer: int
    reference: int
    elsewhere: int
    """A cell that the question is not about; its ID is written in mode ``elsewhere``."""

    @property
    def roles(self) -> dict[str, str]:
        """Roles by colour word; every colour is there once."""
        by_cell = {self.answer: "answer", self.reference: "reference", self.elsewhere: "elsewhere"}
        return {obj.colour: by_cell.get(cell, "other") for cell, obj in enumerate(self.scene.objects)}

    def encoded(self, reader: Reader) -> Encoded:
        """The picture and the question, without an answer."""
        return encode(reader, draw(self.scene), self.prompt)


def questions(spec: ReuseSpec) -> tuple[SpatialQuestion, ...]:
    """``spec.trials`` of each relation, relations taking turns, every pair of cells equally often (within one)."""
    rng = np.random.default_rng([spec.seed, 1])
    columns = []
    for relation in STEPS:
        pairs = [(cell, near) for cell in range(len(GRID.cells)) if (near := _next(cell, relation)) is not None]
        order = np.concatenate([rng.permutation(len(pairs)) for _ in range(-(-spec.trials // len(pairs)))])
        columns.append([_question(rng, relation, *pairs[place]) for place in order[: spec.trials].tolist()])
    return tuple(question for turn in zip(*columns, strict=True) for question in turn)


def _next(cell: int, relation: Relation) -> int | None:
    row, col = (a + b for a, b in zip(GRID.cells[cell], STEPS[relation], strict=True))
    return GRID.cells.index((row, col)) if (row, col) in GRID.cells else None


def _question(rng: np.random.Generator, relation: Relation, reference: int, answer: int) -> SpatialQuestion:
    scene = on_grid(features(rng, len(GRID.cells), "high"), GRID.cells, GRID)
    others = [cell for cell in range(len(GRID.cells)) if cell not in (reference, answer)]
    prompt = spatial_relation(scene, relation, reference)
    return SpatialQuestion(scene, prompt, relation, answer, reference, int(rng.choice(others)))
