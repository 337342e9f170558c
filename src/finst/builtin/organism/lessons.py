"""What the organism is taught: scenes and texts about them, with the stretches of text that carry the loss.

A lesson's text is a list of pieces. Each piece is either given or learned; only learned pieces enter the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import Literal

import numpy as np

from finst import prompts
from finst.builtin.organism.architecture import PATCH_PX
from finst.builtin.organism.tokenizer import place
from finst.errors import choice
from finst.options import Entropy, Placement
from finst.prompts import DESCRIBE, Prompt
from finst.scenes.designs import free_scene, grid_scene
from finst.scenes.object import Cell, Grid, Obj, Scene
from finst.scenes.shapes import COLOURS, SHAPES

DESCRIBE_WITH_PLACES = "Describe the image with places."

WITHHELD: frozenset[tuple[str, str]] = frozenset(
    (colour, SHAPES[(3 * index + 5) % len(SHAPES)]) for index, colour in enumerate(COLOURS)
)
"""Ten colour-shape pairs, one of each colour and none of the paper's named objects, that no training scene contains."""

CANVASES = (Grid(2, 2), Grid(3, 3), Grid(3, 2))
"""The grids of the paper, and with them the canvas sizes, that the organism is trained on."""

MAX_JITTER_PX = 24


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


@cache
def held_out_layouts(grid: Grid, count: int) -> frozenset[frozenset[Cell]]:
    """A tenth (at least one) of the sets of ``count`` cells, fixed, that no training scene occupies; none if full."""
    layouts = list(combinations(grid.cells, count)) if count < len(grid.cells) else []
    chosen = np.random.default_rng(count).permutation(len(layouts))[: -(-len(layouts) // 10)]
    return frozenset(frozenset(layouts[i]) for i in chosen)


def layout_is_held_out(scene: Scene, grid: Grid) -> bool:
    """Whether the scene occupies one of the grid's held-out sets of cells; freely placed scenes never do."""
    cells = frozenset(obj.cell for obj in scene.objects if obj.cell is not None)
    return cells in held_out_layouts(grid, len(cells))


def has_withheld_pair(scene: Scene) -> bool:
    """Whether the scene contains a colour-shape pair that training never shows."""
    return any((obj.colour, obj.shape) in WITHHELD for obj in scene.objects)


def training_scene(rng: np.random.Generator, grid: Grid, nearly_full: float = 0.0) -> Scene:
    """A random scene on the grid's canvas (one in eight placed freely) that training may show.

    A share ``nearly_full`` of the scenes leaves one or two cells empty; the others have any number of objects.
    """
    capacity = len(grid.cells)
    while True:
        crowded = nearly_full > 0 and rng.random() < nearly_full
        count = int(rng.integers(capacity - 2, capacity) if crowded else rng.integers(2, capacity + 1))
        entropy: Entropy = ("low", "high", "any")[rng.integers(3)]
        if rng.random() < 0.125:
            scene = free_scene(rng, grid.width, grid.height, min(count, max(2, capacity // 2)), entropy)
        else:
            scene = grid_scene(rng, grid, count, entropy, int(rng.integers(2)) * MAX_JITTER_PX)
        if not (has_withheld_pair(scene) or layout_is_held_out(scene, grid)):
            return scene


def reading_order(scene: Scene) -> list[int]:
    """Object indices by row, then column; by the top left corner where objects are placed freely."""
    return sorted(range(len(scene.objects)), key=lambda i: scene.objects[i].cell or scene.objects[i].box[1::-1])


def from_prompt(scene: Scene, prompt: Prompt) -> Lesson:
    """The lesson of a prompt: only its answer is learned."""
    assistant = (Piece(prompt.prefill), Piece(prompt.continuation(prompt.answer), learned=True))
    return Lesson(scene, (Piece(prompt.user),), assistant if prompt.prefill else assistant[1:])


def places(obj: Obj) -> str:
    """The two place tokens of an object: column and row of the 28-px patch that holds its centre."""
    left, top, right, bottom = obj.box
    return place("x", (left + right) // 2 // PATCH_PX) + place("y", (top + bottom) // 2 // PATCH_PX)


Naming = Callable[[Obj, bool], tuple[Piece, ...]]
"""How a caption speaks of an object, and whether the name is learned."""


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


def caption(scene: Scene, order: Sequence[int], learned: Sequence[bool], naming: Naming = named) -> tuple[Piece, ...]:
    """``In this image there is a red square, a blue circle and a green star``, over all of ``order``."""
    pieces = [Piece("In this image there is")]
    for rank, index in enumerate(order):
        joint = "" if rank == 0 else " and" if rank == len(order) - 1 else ","
        pieces += [Piece(f"{joint} a"), *naming(scene.objects[index], learned[rank])]
    return tuple(pieces)


def _random_placement(rng: np.random.Generator) -> Placement:
    return "prefill" if rng.random() < 0.5 else "user_turn"


def describe(rng: np.random.Generator, scene: Scene) -> Lesson:
    """All objects but one in random order; the last one is learned."""
    *described, target = (int(i) for i in rng.permutation(len(scene.objects)))
    return from_prompt(scene, prompts.scene_description(scene, described, target, _random_placement(rng)))


def proceed(rng: np.random.Generator, scene: Scene) -> Lesson:
    """Some objects in random order; learned is the next one not yet described, in reading order after the last one.

    With one object left this is ``describe``; with more, counting colours and shapes no longer gives the answer.
    """
    *said, target = _some_and_next(rng, scene)
    return from_prompt(scene, prompts.scene_description(scene, said, target, _random_placement(rng)))


def _some_and_next(rng: np.random.Generator, scene: Scene) -> list[int]:
    said = [int(i) for i in rng.permutation(len(scene.objects))[: rng.integers(1, len(scene.objects))]]
    order = reading_order(scene)
    after = order.index(said[-1]) + 1
    return [*said, next(index for index in order[after:] + order[:after] if index not in said)]


def _from_random_start(rng: np.random.Generator, scene: Scene) -> list[int]:
    order = reading_order(scene)
    start = int(rng.integers(len(order)))
    return order[start:] + order[:start]


def successor(rng: np.random.Generator, scene: Scene) -> Lesson:
    """Reading order from a random start; a whole caption, or (user turn) the next object after some."""
    order = _from_random_start(rng, scene)
    if _random_placement(rng) == "prefill":
        learned = [rank > 0 for rank in range(len(order))]
        return Lesson(scene, (Piece(DESCRIBE),), caption(scene, order, learned))
    count = int(rng.integers(1, len(order)))
    return from_prompt(scene, prompts.scene_description(scene, order[:count], order[count], "user_turn"))


def grounded(rng: np.random.Generator, scene: Scene) -> Lesson:
    """A whole caption in reading order from a random start, every object followed by its place."""
    order = _from_random_start(rng, scene)
    return _grounded(rng, scene, order, [rank > 0 for rank in range(len(order))])


def grounded_shuffled(rng: np.random.Generator, scene: Scene) -> Lesson:
    """As ``proceed``, every object followed by its place: the places and the last object are learned."""
    order = _some_and_next(rng, scene)
    return _grounded(rng, scene, order, [False] * (len(order) - 1) + [True])


def _grounded(rng: np.random.Generator, scene: Scene, order: list[int], learned: list[bool]) -> Lesson:
    if _random_placement(rng) == "prefill":
        return Lesson(scene, (Piece(DESCRIBE_WITH_PLACES),), caption(scene, order, learned, placed))
    said = caption(scene, order, [False] * len(order), placed)[:-2]
    return Lesson(scene, said, (Piece(scene.objects[order[-1]].name, learned=True),))


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
    said = caption(scene, order[start:] + order[:start], [rank > 0 for rank in range(len(order))], naming)
    other: Feature = "shape" if feature == "colour" else "colour"
    return Lesson(scene, (Piece(DESCRIBE),), said, unnamed=other if rng.random() < 0.5 else None)


def colour(rng: np.random.Generator, scene: Scene) -> Lesson:
    """The colour of a shape that occurs once; a description where there is none."""
    shapes = [obj.shape for obj in scene.objects]
    unique = [i for i, shape in enumerate(shapes) if shapes.count(shape) == 1]
    if not unique:
        return describe(rng, scene)
    return from_prompt(scene, prompts.colour_retrieval(scene, int(rng.choice(unique))))


def relation(rng: np.random.Generator, scene: Scene) -> Lesson:
    """The colour of the object directly above, below, left or right of another; a description where there is none."""
    known: list[tuple[prompts.Relation, int]] = [
        (name, reference)
        for reference in range(len(scene.objects))
        for name in prompts.STEPS
        if prompts.neighbour(scene, name, reference) is not None
    ]
    if not known:
        return describe(rng, scene)
    name, reference = known[int(rng.integers(len(known)))]
    return from_prompt(scene, prompts.spatial_relation(scene, name, reference))


def enumeration(rng: np.random.Generator, scene: Scene) -> Lesson:
    """A numbered list in reading order, then the count."""
    return from_prompt(scene, prompts.enumeration(scene, reading_order(scene)))


LESSONS: dict[str, Callable[[np.random.Generator, Scene], Lesson]] = {
    "describe": describe,
    "proceed": proceed,
    "successor": successor,
    "grounded": grounded,
    "grounded_shuffled": grounded_shuffled,
    "colours": colours,
    "shapes": shapes,
    "colour": colour,
    "relation": relation,
    "enumeration": enumeration,
}

Mix = dict[str, float]
"""Share of each kind of lesson."""

MIXES: dict[str, Mix] = {
    "proceeding": {
        "proceed": 0.30,
        "successor": 0.05,
        "grounded": 0.22,
        "grounded_shuffled": 0.13,
        "colour": 0.05,
        "relation": 0.15,
        "enumeration": 0.10,
    },
    "grounded": {
        "describe": 0.25,
        "successor": 0.05,
        "grounded": 0.25,
        "grounded_shuffled": 0.10,
        "colour": 0.05,
        "relation": 0.20,
        "enumeration": 0.10,
    },
    "finishing": {
        "describe": 0.15,
        "proceed": 0.08,
        "successor": 0.10,
        "grounded": 0.22,
        "grounded_shuffled": 0.10,
        "colour": 0.10,
        "relation": 0.15,
        "enumeration": 0.10,
    },
    "relating": {
        "describe": 0.08,
        "proceed": 0.08,
        "successor": 0.10,
        "grounded": 0.14,
        "grounded_shuffled": 0.08,
        "colours": 0.05,
        "shapes": 0.05,
        "colour": 0.10,
        "relation": 0.24,
        "enumeration": 0.08,
    },
    "listing": {
        "describe": 0.10,
        "proceed": 0.06,
        "successor": 0.10,
        "grounded": 0.20,
        "grounded_shuffled": 0.10,
        "colours": 0.03,
        "shapes": 0.03,
        "colour": 0.10,
        "relation": 0.12,
        "enumeration": 0.16,
    },
    "whole": {
        "describe": 0.10,
        "proceed": 0.08,
        "successor": 0.10,
        "grounded": 0.22,
        "grounded_shuffled": 0.10,
        "colours": 0.02,
        "shapes": 0.02,
        "colour": 0.08,
        "relation": 0.16,
        "enumeration": 0.12,
    },
}
"""The mixes that one can train on; the log in the documentation says what each of them gave."""


def training_lesson(rng: np.random.Generator, grid: Grid, mix: Mix, nearly_full: float = 0.0) -> Lesson:
    """One lesson of the mix on a fresh scene; a share of the scenes is ``nearly_full``."""
    unknown = set(mix) - set(LESSONS)
    if unknown:
        raise choice("lesson", sorted(unknown)[0], LESSONS)
    names, shares = zip(*mix.items(), strict=True)
    name = rng.choice(names, p=np.array(shares) / sum(shares))
    return LESSONS[str(name)](rng, training_scene(rng, grid, nearly_full))
