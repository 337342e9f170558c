"""How well an organism does: exact match of all generated tokens, on scenes that training never shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from finst import prompts
from finst.analysis.proportions import wilson
from finst.builtin.organism.architecture import Architecture
from finst.builtin.organism.lessons.binding import some_then_next
from finst.builtin.organism.lessons.lesson import Lesson, LessonMaker, from_prompt
from finst.builtin.organism.lessons.questions import colour, enumeration, relation
from finst.builtin.organism.lessons.training_scenes import CANVASES, held_out_layouts, scene_if
from finst.builtin.organism.training.batches import IGNORED, Batch, Writer, collate
from finst.builtin.organism.training.forward import Forward
from finst.builtin.organism.training.painter import Painter
from finst.options import Entropy, Placement
from finst.scenes.object import Grid, Scene


@dataclass(frozen=True)
class Result:
    """Exact-match accuracy on ``n`` lessons, with the 95 % Wilson interval."""

    task: str
    scenes: str
    n: int
    accuracy: float
    low: float
    high: float


def exact_match(model: Any, forward: Forward, painter: Painter, batch: Batch) -> Bool[Tensor, "lesson"]:
    """Whether greedy decoding would give every learned token.

    If each learned token is the most likely one after the true tokens before it, greedy decoding produces exactly
    these tokens, and the other way round; so one pass answers for the whole generation.
    """
    hidden = forward(batch, painter.patches(batch))[:, :-1]
    wanted = batch.labels[:, 1:].to(hidden.device)
    predicted = model.lm_head(hidden).argmax(-1)
    return ((predicted == wanted) | (wanted == IGNORED)).all(1)


def _describe(placement: Placement) -> LessonMaker:
    def lesson(rng: np.random.Generator, scene: Scene) -> Lesson:
        *described, target = (int(i) for i in rng.permutation(len(scene.objects)))
        return from_prompt(scene, prompts.scene_description(scene, described, target, placement))

    return lesson


def _next(rng: np.random.Generator, scene: Scene) -> Lesson:
    return some_then_next(rng, scene, "none")


@dataclass(frozen=True)
class Task:
    """One line of the report card."""

    name: str
    lesson: LessonMaker
    grid: Grid
    counts: tuple[int, ...]
    entropy: Entropy = "any"


def tasks(architecture: Architecture) -> Iterator[Task]:
    """Scene description by number of objects, entropy and placement; the three kinds of question; and the object that
    comes next in reading order after some, where two or more stay undescribed."""
    two, three, tall = CANVASES
    placements: tuple[Placement, ...] = ("prefill", "user_turn")
    for placement in placements:
        for count in range(2, 10):
            grid = two if count <= 4 else three
            for entropy in ("low", "high"):
                name = f"description, {count} objects, {entropy} entropy, {placement}"
                yield Task(name, _describe(placement), grid, (count,), entropy)
    for grid in (grid for grid in (two, tall, three) if grid in architecture.grids):
        size = f"{grid.rows}x{grid.cols}"
        counts = tuple(range(2, len(grid.cells) + 1))
        yield Task(f"colour retrieval, {size}", colour, grid, counts, "high")
        yield Task(f"spatial relation, {size}", relation, grid, counts[1:])
        yield Task(f"enumeration and count, {size}", enumeration, grid, counts)
    for grid in (grid for grid in (two, tall, three) if grid in architecture.grids):
        counts = tuple(range(3, len(grid.cells) + 1))
        for entropy in ("low", "high"):
            name = f"next in reading order, {grid.rows}x{grid.cols}, {entropy} entropy"
            yield Task(name, _next, grid, counts, entropy)


def is_asked(task: Task, lesson: Lesson) -> bool:
    """False where a question fell back to a description because the scene had nothing to ask about."""
    return not task.name.startswith(("colour", "spatial")) or "color" in lesson.user[0].text


@dataclass(frozen=True)
class SceneSet:
    """What scenes of a line have."""

    withheld: bool
    """A colour-shape pair that training never shows."""
    held_out: bool | None
    """A set of occupied cells that it never shows; None: any."""


SCENE_SETS: dict[str, SceneSet] = {
    "new scenes": SceneSet(withheld=False, held_out=False),
    "held-out layouts": SceneSet(withheld=False, held_out=True),
    "withheld pairs": SceneSet(withheld=True, held_out=None),
}
"""Fresh scenes; those on sets of cells that training never shows; those with a colour-shape pair it never shows."""


class ReportCard(Dataset[tuple[str, str, Batch]]):
    """Every task on every set of scenes, ``n`` lessons each, half of them jittered; equal in any process."""

    def __init__(self, architecture: Architecture, n: int, seed: int) -> None:
        self.writer, self.n, self.seed = Writer(architecture), n, seed
        self.lines = [
            (task, scenes)
            for task in tasks(architecture)
            for scenes in SCENE_SETS
            if scenes != "held-out layouts" or any(held_out_layouts(task.grid, count) for count in task.counts)
        ]

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> tuple[str, str, Batch]:
        task, scenes = self.lines[index]
        rng = np.random.default_rng([self.seed, index])
        lessons: list[Lesson] = []
        while len(lessons) < self.n:
            count = task.counts[int(rng.integers(len(task.counts)))]
            wanted = SCENE_SETS[scenes]
            scene = scene_if(rng, task.grid, count, task.entropy, withheld=wanted.withheld, held_out=wanted.held_out)
            if scene is not None:
                lesson = task.lesson(rng, scene)
                lessons += [lesson] if is_asked(task, lesson) else []
        return task.name, scenes, collate(lessons, self.writer)


@torch.inference_mode()
def examine(
    architecture: Architecture,
    model: Any,
    *,
    n: int = 400,
    seed: int = 1,
    workers: int = 0,
) -> list[Result]:
    """The report card of a model, every line on ``n`` lessons."""
    forward, painter = Forward(architecture, model), Painter(architecture, model.device)
    card = DataLoader(ReportCard(architecture, n, seed), batch_size=None, num_workers=workers)
    results = []
    for task, scenes, batch in card:
        right = int(exact_match(model, forward, painter, batch).sum())
        results.append(Result(task, scenes, n, right / n, *wilson(right, n)))
    return results
