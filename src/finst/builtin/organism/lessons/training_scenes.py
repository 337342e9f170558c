"""Which scenes training may show, and which it holds back for the report card."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np

from finst.options import Entropy
from finst.scenes.designs import Features
from finst.scenes.object import Box, Cell, Grid, Obj, Scene
from finst.scenes.shapes import COLOURS, SHAPES

WITHHELD: frozenset[tuple[str, str]] = frozenset(
    (colour, SHAPES[(3 * index + 5) % len(SHAPES)]) for index, colour in enumerate(COLOURS)
)
"""Ten colour-shape pairs, one of each colour and none of the paper's named objects, that no training scene contains."""

CANVASES = (Grid(2, 2), Grid(3, 3), Grid(3, 2))
"""The grids of the paper, and with them the canvas sizes, that the organism is trained on."""

MAX_JITTER_PX = 24

LOW_ENTROPY = 1 / 3
"""Share of training scenes of few colours and shapes, unless a recipe has another."""


@cache
def held_out_layouts(grid: Grid, count: int) -> frozenset[frozenset[Cell]]:
    """A tenth (at least one) of the sets of ``count`` cells, fixed, that no training scene occupies; none if full."""
    layouts = list(combinations(grid.cells, count)) if count < len(grid.cells) else []
    chosen = np.random.default_rng(count).permutation(len(layouts))[: -(-len(layouts) // 10)]
    return frozenset(frozenset(layouts[i]) for i in chosen)


def layout_is_held_out(scene: Scene, grid: Grid) -> bool:
    """Whether the scene occupies one of the grid's held-out sets of cells; freely placed scenes never do."""
    cells = frozenset(obj.cell for obj in scene.objects if obj.cell is not None)
    return bool(cells) and cells in held_out_layouts(grid, len(cells))


def has_withheld_pair(scene: Scene) -> bool:
    """Whether the scene contains a colour-shape pair that training never shows."""
    return any((obj.colour, obj.shape) in WITHHELD for obj in scene.objects)


def training_scene(
    rng: np.random.Generator, grid: Grid, nearly_full: float = 0.0, low_entropy: float = LOW_ENTROPY
) -> Scene:
    """A random scene on the grid that training may show; half of them jittered by up to ``MAX_JITTER_PX``.

    A share ``nearly_full`` of the scenes leaves one or two cells empty; the others have any number of objects. A share
    ``low_entropy`` has few colours and shapes; half of the others have as many as they can, the rest any.
    """
    capacity = len(grid.cells)
    while True:
        crowded = nearly_full > 0 and rng.random() < nearly_full
        count = int(rng.integers(capacity - 2, capacity) if crowded else rng.integers(2, capacity + 1))
        entropy: Entropy = "low" if rng.random() < low_entropy else ("high", "any")[rng.integers(2)]
        scene = scene_if(rng, grid, count, entropy, withheld=False, held_out=False)
        if scene is not None:
            return scene


def scene_if(
    rng: np.random.Generator, grid: Grid, count: int, entropy: Entropy, *, withheld: bool, held_out: bool | None
) -> Scene | None:
    """A random scene, half of them jittered by up to ``MAX_JITTER_PX``; None where it is not as wanted.

    It is to have a pair that is ``withheld`` from training, or none; and a layout that is ``held_out``, or none, or any
    (None). That is seen before a scene is made.
    """
    named = drawn_features(rng, count, entropy)
    if WITHHELD.isdisjoint(named) == withheld:
        return None
    every = _cells(grid)
    cells = [every[i] for i in rng.permutation(len(every))[:count].tolist()]
    if held_out is not None and (frozenset(cells) in held_out_layouts(grid, count)) != held_out:
        return None
    jitter = int(rng.integers(2)) * MAX_JITTER_PX
    moves = rng.integers(-jitter, jitter + 1, (count, 2)).tolist()
    placed = zip(named, cells, moves, strict=True)
    objects = tuple(Obj(*name, _moved(grid, cell, *move), cell) for name, cell, move in placed)
    return Scene(grid.width, grid.height, objects)


def drawn_features(rng: np.random.Generator, count: int, entropy: Entropy) -> list[Features]:
    """What ``finst.scenes.designs.features`` draws, from whole numbers and so in a fifth of the time.

    The same sets of pairs are equally likely; from one generator the two draw different ones.
    """
    if entropy == "any":
        return [_PAIRS[i] for i in rng.permutation(len(_PAIRS))[:count].tolist()]
    colours, shapes = rng.permutation(len(COLOURS)).tolist(), rng.permutation(len(SHAPES)).tolist()
    if entropy == "low":
        values = 2 if count <= 4 else 3
        pairs = [(c, s) for c in colours[:values] for s in shapes[:values]]
        chosen = [pairs[i] for i in rng.permutation(len(pairs))[:count].tolist()]
    else:
        chosen = zip(colours[:count], [*shapes, *rng.permutation(len(SHAPES)).tolist()], strict=False)
    return [_PAIRS[colour * len(SHAPES) + shape] for colour, shape in chosen]


_PAIRS: list[Features] = [(colour, shape) for colour in COLOURS for shape in SHAPES]


@cache
def _cells(grid: Grid) -> tuple[Cell, ...]:
    return grid.cells


@cache
def _moved(grid: Grid, cell: Cell, dx: int, dy: int) -> Box:
    return grid.box(cell, dx, dy)


def reading_order(scene: Scene) -> list[int]:
    """Object indices by row, then column; by the top left corner where objects are placed freely."""
    return sorted(range(len(scene.objects)), key=lambda i: scene.objects[i].cell or scene.objects[i].box[1::-1])
