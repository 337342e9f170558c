"""Tasks that name an object by its place: what position IDs are taken from, and what they are written into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from finst.errors import choice
from finst.options import Placement
from finst.prompts import Prompt, colour_retrieval, next_item, scene_description, spatial_relation
from finst.scenes.designs import features
from finst.scenes.object import Cell, Grid, Scene, on_grid

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
    """A described object, and the place that its words are told in place of its own."""

    object: int
    start: Place
    stop: Place


@dataclass(frozen=True)
class Asked:
    """A picture and a prompt that asks for the object at a place."""

    scene: Scene
    prompt: Prompt
    place: Place
    """Of the object that is to be named."""
    answer: int
    """Its index in the scene."""
    elsewhere: int
    """That of the object at the other end of its row."""
    move: Move | None = None
    """What would make ``elsewhere`` the right answer by the description alone; None where no single one would."""

    @property
    def roles(self) -> dict[str, str]:
        """Roles by colour word; every colour is there once."""
        of = {self.answer: "answer", self.elsewhere: "elsewhere"}
        return {obj.colour: of.get(index, "other") for index, obj in enumerate(self.scene.objects)}

    @property
    def picture(self) -> frozenset[object]:
        """Equal for equal pictures."""
        return frozenset(self.scene.objects)


@dataclass(frozen=True)
class Task:
    """How the pictures and prompts of a task are made. A hit is a text that begins with the colour ``elsewhere``."""

    name: str
    made: Callable[[np.random.Generator, Place, Placement], Asked]
    describes: bool = True
    """Whether it has a ``move``."""
    rows: bool = True
    """Whether its arrangements have two rows or more. Those of one row have sides alone, whatever its height."""


def _grid(grid: Grid, cells: Sequence[Cell], rng: np.random.Generator) -> Scene:
    """Objects of different colours, in random order."""
    return on_grid(features(rng, len(cells), "high"), [cells[i] for i in rng.permutation(len(cells))], grid)


def _corner(grid: Grid, place: Place) -> Cell:
    return place[0] * (grid.rows - 1), place[1] * (grid.cols - 1)


def _at(scene: Scene, grid: Grid, place: Place) -> int:
    """The object at a place."""
    return [obj.cell for obj in scene.objects].index(_corner(grid, place))


def _described(scene: Scene, grid: Grid, place: Place, rng: np.random.Generator, placement: Placement) -> Asked:
    """All others are described; the one at the other end of the row is then told to be at the answer's place."""
    answer, elsewhere = _at(scene, grid, place), _at(scene, grid, opposite(place))
    order = rng.permutation([index for index in range(len(scene.objects)) if index != answer]).tolist()
    prompt = scene_description(scene, order, answer, placement)
    return Asked(scene, prompt, place, answer, elsewhere, Move(elsewhere, opposite(place), place))


def _description_2x2(rng: np.random.Generator, place: Place, placement: Placement) -> Asked:
    return _described(_grid(TWO, TWO.cells, rng), TWO, place, rng, placement)


def _description_3x3(rng: np.random.Generator, place: Place, placement: Placement) -> Asked:
    return _described(_grid(THREE, THREE.cells, rng), THREE, place, rng, placement)


def _description_sided(rng: np.random.Generator, place: Place, placement: Placement) -> Asked:
    row = [_corner(TWO, place), _corner(TWO, opposite(place))]
    return _described(_grid(TWO, row, rng), TWO, place, rng, placement)


def _colour(rng: np.random.Generator, place: Place, _: Placement) -> Asked:
    """The object that is asked for is told to be at the other end of its row."""
    scene = _grid(TWO, TWO.cells, rng)
    answer, elsewhere = _at(scene, TWO, place), _at(scene, TWO, opposite(place))
    move = Move(answer, place, opposite(place))
    return Asked(scene, colour_retrieval(scene, answer), place, answer, elsewhere, move)


def _spatial(rng: np.random.Generator, place: Place, _: Placement) -> Asked:
    """Asks for what is above or below an object, which is told to be at the other end of its row."""
    scene = _grid(TWO, TWO.cells, rng)
    answer, elsewhere = _at(scene, TWO, place), _at(scene, TWO, opposite(place))
    near = (1 - place[0], place[1])
    prompt = spatial_relation(scene, "below" if place[0] else "above", _at(scene, TWO, near))
    return Asked(scene, prompt, place, answer, elsewhere, Move(_at(scene, TWO, near), near, opposite(near)))


def _enumeration(rng: np.random.Generator, place: Place, _: Placement) -> Asked:
    """Corners and some other cells of 3x3 in reading order, so that a place is not a number in the list."""
    others = [cell for cell in THREE.cells if 1 in cell and rng.random() < 0.5]
    cells = sorted([*(_corner(THREE, corner) for corner in PLACES), *others])
    scene = on_grid(features(rng, len(cells), "high"), cells, THREE)
    answer, elsewhere = _at(scene, THREE, place), _at(scene, THREE, opposite(place))
    return Asked(scene, next_item(scene, range(answer), answer), place, answer, elsewhere)


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
    """By name. Raises FinstError for an unknown one."""
    if name not in TASKS:
        raise choice("task", name, TASKS)
    return TASKS[name]


@dataclass(frozen=True)
class Pictures:
    """What a task shows: to be edited, and to estimate IDs from."""

    tests: tuple[Asked, ...]
    estimation: tuple[Asked, ...]


def pictures_of(
    names: Sequence[str], tests: int, estimation: int, seed: int, placement: Placement
) -> dict[str, Pictures]:
    """``tests`` and ``estimation`` trials of every task, places taking turns; no picture of all these is there twice.

    Raises FinstError for an unknown task.
    """
    seen: set[frozenset[object]] = set()

    def drawn(task: Task, split: int, count: int) -> tuple[Asked, ...]:
        rng = np.random.default_rng([seed, split, list(TASKS).index(task.name)])
        return tuple(fresh(task, rng, PLACES[index % len(PLACES)]) for index in range(count))

    def fresh(task: Task, rng: np.random.Generator, place: Place) -> Asked:
        asked = task.made(rng, place, placement)
        while asked.picture in seen:
            asked = task.made(rng, place, placement)
        seen.add(asked.picture)
        return asked

    return {name: Pictures(drawn(task_of(name), 0, tests), drawn(task_of(name), 1, estimation)) for name in names}
