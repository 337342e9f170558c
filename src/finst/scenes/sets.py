"""The paper's sets of scenes for representational analyses, in which objects' places and features are independent.

In every trial all objects but one are described, in some order, and the last is to be named. At each step of that order
(the first described object, the second, ..., the named one) each object is in each cell equally often.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np
from jaxtyping import Int

from finst.errors import FinstError
from finst.options import Arrangements, Entropy, Objects
from finst.scenes.designs import Features, features
from finst.scenes.object import Cell, Grid, Obj, Scene, on_grid

NAMED: tuple[Features, ...] = (
    ("red", "circle"),
    ("green", "triangle"),
    ("blue", "square"),
    ("purple", "star"),
    ("yellow", "heart"),
    ("orange", "cross"),
)
"""The paper's six named objects (section "Scenes")."""

LATTICE = Grid(3, 3)
"""The grid of the PCA set and of the frame set."""

CENTRE: Cell = (1, 1)
"""The lattice cell that all four arrangements of the frame set share."""

QUADRANTS: tuple[Cell, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))
"""The lattice cell at the top left of each 2x2 arrangement of the frame set."""

COUNTED: tuple[Features, ...] = tuple(
    product(("red", "blue", "green", "yellow"), ("triangle", "square", "circle", "cross"))
)
"""The objects from which the counting set draws."""

COUNTS = range(3, 9)
"""Numbers of objects in a picture of the counting set."""


@dataclass(frozen=True)
class Staged:
    """A scene and the order in which its objects are mentioned."""

    scene: Scene
    order: tuple[int, ...]
    """Indices of objects: the described objects in order of mention, then the target."""

    @property
    def stages(self) -> tuple[Obj, ...]:
        """The objects in that order, the target last."""
        return tuple(self.scene.objects[index] for index in self.order)

    @property
    def target(self) -> Obj:
        """The object to be named."""
        return self.scene.objects[self.order[-1]]

    def relative(self, obj: Obj) -> Cell:
        """Row and column of an object among the rows and columns that the scene's objects occupy."""
        row, col = absolute(obj)
        cells = [absolute(other) for other in self.scene.objects]
        return sorted({r for r, _ in cells}).index(row), sorted({c for _, c in cells}).index(col)


def absolute(obj: Obj) -> Cell:
    """The lattice cell of an object. Raises FinstError for an object that was placed freely."""
    if obj.cell is None:
        raise FinstError(f"the {obj.name} is in no cell: expected objects on a grid")
    return obj.cell


def counterbalanced(
    objects: Sequence[Features], cells: Sequence[Cell], grid: Grid, per_pair: int, rng: np.random.Generator
) -> tuple[Staged, ...]:
    """``per_pair`` trials for every (object, cell), with N objects in N cells: N x N x ``per_pair`` trials.

    Each N consecutive trials have the same target and N arrangements that form a Latin square: every object is once in
    every cell. Over N x N consecutive trials, at each step of the order of mention (not only for the target), every
    object is once in every cell. Apart from that, arrangements and orders are random and new in every trial. Raises
    FinstError unless there are as many cells as objects, at least 2, and ``per_pair`` is at least 1.
    """
    count = len(objects)
    if len(cells) != count or count < 2:
        raise FinstError(f"a counterbalanced set needs as many cells as objects, at least 2; got {count}, {len(cells)}")
    if per_pair < 1:
        raise FinstError(f"trials is {per_pair}: expected at least 1 for every pair of object and cell")
    return tuple(trial for _ in range(per_pair) for trial in _block(objects, cells, grid, rng))


def _block(
    objects: Sequence[Features], cells: Sequence[Cell], grid: Grid, rng: np.random.Generator
) -> Iterator[Staged]:
    """N x N trials with every object once in every cell at every step."""
    count = len(objects)
    targets = np.repeat(rng.permutation(count), count)
    places = np.concatenate([_latin_square(count, rng) for _ in range(count)])
    for order, where in zip(_orders(places, targets, rng), places, strict=True):
        scene = on_grid(objects, [cells[place] for place in where], grid)
        yield Staged(scene, tuple(int(index) for index in order))


def _latin_square(count: int, rng: np.random.Generator) -> Int[np.ndarray, "arrangement object"]:
    """Places of ``count`` objects in as many arrangements, each object once in each place."""
    rows, columns = rng.permutation(count), rng.permutation(count)
    return rng.permutation(count)[(rows[:, None] + columns) % count]


def _orders(
    places: Int[np.ndarray, "trial object"], targets: Int[np.ndarray, "trial"], rng: np.random.Generator
) -> Int[np.ndarray, "trial step"]:
    """Orders of mention, the target last, with every (object, place) once at every step.

    Consider the bipartite graph of trials and (object, place) pairs, in which each trial is joined to its described
    objects at their places. Every node has N - 1 edges, so the edges are N - 1 perfect matchings (Kőnig): the steps.
    """
    count = places.shape[1]
    left = {
        trial: [(int(x), int(places[trial, x])) for x in rng.permutation(count) if x != target]
        for trial, target in enumerate(targets.tolist())
    }
    orders = np.empty((len(places), count), dtype=np.int64)
    orders[:, -1] = targets
    for step in rng.permutation(count - 1):
        for pair, trial in _perfect_matching(left).items():
            orders[trial, step] = pair[0]
            left[trial].remove(pair)
    return orders


def _perfect_matching(edges: Mapping[int, Sequence[Cell]]) -> dict[Cell, int]:
    """A trial for every pair, each trial once, in a regular graph (by augmenting paths); prefers earlier edges."""
    taken: dict[Cell, int] = {}

    def place(trial: int, tried: set[Cell]) -> bool:
        for pair in edges[trial]:
            if pair not in tried:
                tried.add(pair)
                if pair not in taken or place(taken[pair], tried):
                    taken[pair] = trial
                    return True
        return False

    for trial in edges:
        place(trial, set())
    return taken


def all_arrangements(
    objects: Sequence[Features], cells: Sequence[Cell], grid: Grid, times: int, rng: np.random.Generator
) -> tuple[Staged, ...]:
    """Every arrangement ``times`` times, with a random order of mention: 24 arrangements of four objects.

    The set of a public reproduction. The order of mention is random, so it is balanced only on average. Raises
    FinstError unless 2 to 4 objects have as many cells, and ``times`` is at least 1.
    """
    if len(cells) != len(objects) or not 2 <= len(cells) <= 4:
        raise FinstError(
            f"all arrangements need 2 to 4 objects in as many cells (24 at most), not {len(objects)} in "
            f"{len(cells)}: expected a 2x2 grid"
        )
    if times < 1:
        raise FinstError(f"trials is {times}: expected at least 1 of every arrangement")
    every = [[cells[place] for place in where] for where in permutations(range(len(cells)))] * times
    return tuple(
        Staged(on_grid(objects, every[index], grid), tuple(int(i) for i in rng.permutation(len(objects))))
        for index in rng.permutation(len(every))
    )


def unique_objects(
    grid: Grid,
    entropy: Entropy,
    per_pair: int,
    seed: int,
    objects: Objects = "same",
    arrangements: Arrangements = "counterbalanced",
) -> tuple[Staged, ...]:
    """The base design and the entropy sets (Figs 1c, 6, 7): as many objects as cells.

    low: all conjunctions of 2x2 values on a 2x2 grid and of 3x3 values on a 3x3 grid; high: as distinct as possible.
    The seed chooses the values. The paper has 100 trials per (object, cell) pair on 2x2 (1,600) and 50 on 3x3 (4,050).
    With ``arrangements`` "all", ``per_pair`` is the number of trials per arrangement.
    """
    rng = np.random.default_rng(seed)
    design = counterbalanced if arrangements == "counterbalanced" else all_arrangements
    trials = design(features(rng, len(grid.cells), entropy), grid.cells, grid, per_pair, rng)
    if objects == "same":
        return trials
    return tuple(_recoloured(trial, features(rng, len(grid.cells), entropy), grid) for trial in trials)


def _recoloured(trial: Staged, named: Sequence[Features], grid: Grid) -> Staged:
    """The same places and order of mention with other objects."""
    return replace(trial, scene=on_grid(named, [absolute(obj) for obj in trial.scene.objects], grid))


def pca_set(per_pair: int, seed: int) -> tuple[Staged, ...]:
    """The six named objects in the outer columns of a 3x3 lattice (Fig 1b).

    The paper has 200 trials per (object, cell) pair, 7,200 in all.
    """
    cells = [cell for cell in LATTICE.cells if cell[1] != CENTRE[1]]
    return counterbalanced(NAMED, cells, LATTICE, per_pair, np.random.default_rng(seed))


def frame_set(per_pair: int, seed: int) -> tuple[Staged, ...]:
    """Four unique objects in a 2x2 arrangement in each quadrant of a 3x3 lattice (Figs 2, 8, 13, 26-29).

    The lattice's centre belongs to all four: the bottom right of the first, the top left of the last. There are 4 x 16
    x ``per_pair`` trials (number not stated in the paper), in blocks of 16 that alternate between the quadrants.
    """
    rng = np.random.default_rng(seed)
    objects = features(rng, 4, "high")
    sets = [
        counterbalanced(objects, [(top + r, left + c) for r in (0, 1) for c in (0, 1)], LATTICE, per_pair, rng)
        for top, left in QUADRANTS
    ]
    block = len(objects) ** 2
    starts = range(0, block * per_pair, block)
    return tuple(trial for start in starts for each in sets for trial in each[start : start + block])


def counting_set(count: int, seed: int) -> tuple[Scene, ...]:
    """``count`` pictures of 3 to 8 different objects in random cells of a 3x3 grid (Fig 46).

    The public reproduction has 100. All numbers of objects are equally frequent (within one picture).
    """
    rng = np.random.default_rng(seed)
    sizes = np.concatenate([rng.permutation(COUNTS) for _ in range(-(-count // len(COUNTS)))])[:count]
    return tuple(_counted(rng, size) for size in sizes.tolist())


def _counted(rng: np.random.Generator, size: int) -> Scene:
    named = [COUNTED[place] for place in rng.permutation(len(COUNTED))[:size]]
    cells = [LATTICE.cells[place] for place in rng.permutation(len(LATTICE.cells))[:size]]
    return on_grid(named, cells, LATTICE)
