"""Tasks whose answer is an object at a given place; position IDs are estimated in one and written into another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from finst.errors import FinstError, choice
from finst.options import Placement
from finst.prompts import Prompt, colour_retrieval, next_item, scene_description, spatial_relation
from finst.scenes.designs import features
from finst.scenes.draw import draw
from finst.scenes.object import Cell, Grid, Scene, on_grid
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import Reader

Place = tuple[int, int]
"""(row, side) of an object within its arrangement, both 0 or 1: in its first or last row, at the left or right end of
that row. It is what the corners of 2x2 and 3x3 have in common, and the two ends of a single row."""

PLACES: tuple[Place, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))

NAMES: Mapping[Place, str] = MappingProxyType(
    {place: f"{('upper', 'lower')[place[0]]} {('left', 'right')[place[1]]}" for place in PLACES}
)

TWO, THREE = Grid(2, 2), Grid(3, 3)


def opposite(place: Place) -> Place:
    """The other end of the same row."""
    return place[0], 1 - place[1]


@dataclass(frozen=True)
class Move:
    """A described object, and the place whose ID its words get instead of that of its own place."""

    object: int
    start: Place
    """Its own place."""
    stop: Place


@dataclass(frozen=True)
class TaskTrial:
    """A picture and a prompt whose answer is the object at a place."""

    scene: Scene
    prompt: Prompt
    place: Place
    """The place of the object that is to be named."""
    answer: int
    """The index of that object in the scene."""
    elsewhere: int
    """The index of the object at the other end of its row."""
    move: Move | None = None
    """The move that would make ``elsewhere`` the right answer by the description alone; None where no single one
    would."""

    @property
    def roles(self) -> dict[str, str]:
        """Roles by colour word; every colour is there once."""
        by_index = {self.answer: "answer", self.elsewhere: "elsewhere"}
        return {obj.colour: by_index.get(index, "other") for index, obj in enumerate(self.scene.objects)}

    @property
    def picture(self) -> frozenset[object]:
        """Equal for equal pictures."""
        return frozenset(self.scene.objects)

    def encoded(self, reader: Reader) -> Encoded:
        """The picture and the prompt, without an answer."""
        return encode(reader, draw(self.scene), self.prompt)


@dataclass(frozen=True)
class Task:
    """How the pictures and prompts of a task are made. A hit is a text that begins with the colour of ``elsewhere``."""

    name: str
    draw_trial: Callable[[np.random.Generator, Place, Placement], TaskTrial]
    describes: bool = True
    """Whether it has a ``move``."""
    rows: bool = True
    """Whether its arrangements have two rows or more. A single row has sides alone, whatever its height."""


def _grid(grid: Grid, cells: Sequence[Cell], rng: np.random.Generator) -> Scene:
    """Objects of different colours, in random order."""
    return on_grid(features(rng, len(cells), "high"), [cells[i] for i in rng.permutation(len(cells))], grid)


def _corner(grid: Grid, place: Place) -> Cell:
    return place[0] * (grid.rows - 1), place[1] * (grid.cols - 1)


def _at(scene: Scene, grid: Grid, place: Place) -> int:
    """The object at a place."""
    return [obj.cell for obj in scene.objects].index(_corner(grid, place))


def _described(scene: Scene, grid: Grid, place: Place, rng: np.random.Generator, placement: Placement) -> TaskTrial:
    """All others are described; the move gives the one at the other end of the row the answer's place."""
    answer, elsewhere = _at(scene, grid, place), _at(scene, grid, opposite(place))
    order = rng.permutation([index for index in range(len(scene.objects)) if index != answer]).tolist()
    prompt = scene_description(scene, order, answer, placement)
    return TaskTrial(scene, prompt, place, answer, elsewhere, Move(elsewhere, opposite(place), place))


def _description_2x2(rng: np.random.Generator, place: Place, placement: Placement) -> TaskTrial:
    return _described(_grid(TWO, TWO.cells, rng), TWO, place, rng, placement)


def _description_3x3(rng: np.random.Generator, place: Place, placement: Placement) -> TaskTrial:
    return _described(_grid(THREE, THREE.cells, rng), THREE, place, rng, placement)


def _description_sided(rng: np.random.Generator, place: Place, placement: Placement) -> TaskTrial:
    row = [_corner(TWO, place), _corner(TWO, opposite(place))]
    return _described(_grid(TWO, row, rng), TWO, place, rng, placement)


def _colour(rng: np.random.Generator, place: Place, _: Placement) -> TaskTrial:
    """Asks for the colour of an object; the move gives that object the other end of its row."""
    scene = _grid(TWO, TWO.cells, rng)
    answer, elsewhere = _at(scene, TWO, place), _at(scene, TWO, opposite(place))
    move = Move(answer, place, opposite(place))
    return TaskTrial(scene, colour_retrieval(scene, answer), place, answer, elsewhere, move)


def _spatial(rng: np.random.Generator, place: Place, _: Placement) -> TaskTrial:
    """Asks for the colour above or below an object; the move gives that object the other end of its row."""
    scene = _grid(TWO, TWO.cells, rng)
    answer, elsewhere = _at(scene, TWO, place), _at(scene, TWO, opposite(place))
    near = (1 - place[0], place[1])
    prompt = spatial_relation(scene, "below" if place[0] else "above", _at(scene, TWO, near))
    return TaskTrial(scene, prompt, place, answer, elsewhere, Move(_at(scene, TWO, near), near, opposite(near)))


def _enumeration(rng: np.random.Generator, place: Place, _: Placement) -> TaskTrial:
    """Corners and some other cells of 3x3 in reading order, so that a place is not a number in the list."""
    others = [cell for cell in THREE.cells if 1 in cell and rng.random() < 0.5]
    cells = sorted([*(_corner(THREE, corner) for corner in PLACES), *others])
    scene = on_grid(features(rng, len(cells), "high"), cells, THREE)
    answer, elsewhere = _at(scene, THREE, place), _at(scene, THREE, opposite(place))
    return TaskTrial(scene, next_item(scene, range(answer), answer), place, answer, elsewhere)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task("description-2x2", _description_2x2),
            Task("description-3x3", _description_3x3),
            Task("description-sided", _description_sided, rows=False),
            Task("colour", _colour),
            Task("spatial", _spatial),
            Task("enumeration", _enumeration, describes=False),
        )
    }
)


def task_of(name: str) -> Task:
    """The task of this name. Raises FinstError for an unknown one."""
    if name not in TASKS:
        raise choice("task", name, TASKS)
    return TASKS[name]


@dataclass(frozen=True)
class TaskTrials:
    """The trials of one task: those that are edited, and those that its IDs are estimated from."""

    tests: tuple[TaskTrial, ...]
    estimation: tuple[TaskTrial, ...]


TRIES = 1_000
"""Draws for a picture that was not there before."""


def trials_of(
    names: Sequence[str], tests: int, estimation: int, seed: int, placement: Placement
) -> dict[str, TaskTrials]:
    """``tests`` and ``estimation`` trials of every task, places taking turns; no picture of all these is there twice.

    Raises FinstError for an unknown task, and for more trials than there are different pictures.
    """
    seen: set[frozenset[object]] = set()

    def drawn(task: Task, split: int, count: int) -> tuple[TaskTrial, ...]:
        rng = np.random.default_rng([seed, split, list(TASKS).index(task.name)])
        return tuple(fresh(task, rng, PLACES[index % len(PLACES)]) for index in range(count))

    def fresh(task: Task, rng: np.random.Generator, place: Place) -> TaskTrial:
        for _ in range(TRIES):
            trial = task.draw_trial(rng, place, placement)
            if trial.picture not in seen:
                seen.add(trial.picture)
                return trial
        raise FinstError(
            f"{task.name} has too few different pictures for {tests} trials and {estimation} to estimate from: "
            "expected fewer of both"
        )

    return {name: TaskTrials(drawn(task_of(name), 0, tests), drawn(task_of(name), 1, estimation)) for name in names}
