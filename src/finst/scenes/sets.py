"""The paper's sets of scenes for representational analyses: place and features of objects are independent by design.

Every trial shows some objects; all but one are described, in some order, and the last is to be named. At every step of
that (the first described object, the second, ..., the named one) each object stands in each cell equally often.
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
"""Of the PCA set and of the frame set."""

CENTRE: Cell = (1, 1)
"""The lattice's cell that all four arrangements of the frame set occupy."""

QUADRANTS: tuple[Cell, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))
"""The lattice cell at the top left of each 2x2 arrangement of the frame set."""

COUNTED: tuple[Features, ...] = tuple(
    product(("red", "blue", "green", "yellow"), ("triangle", "square", "circle", "cross"))
)
"""The objects of the counting set."""

COUNTS = range(3, 9)
"""How many of them a picture shows."""


@dataclass(frozen=True)
class Staged:
    """A scene and the order in which its objects come up."""

    scene: Scene
    order: tuple[int, ...]
    """Indices of objects: the described ones as they are mentioned, then the target."""

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
    """The lattice cell of an object. Raises FinstError for one that was placed freely."""
    if obj.cell is None:
        raise FinstError(f"the {obj.name} stands in no cell: expected objects on a grid")
    return obj.cell


def counterbalanced(
    objects: Sequence[Features], cells: Sequence[Cell], grid: Grid, per_pair: int, rng: np.random.Generator
) -> tuple[Staged, ...]:
    """``per_pair`` trials for every (object, cell), with N objects in N cells: N x N x ``per_pair`` trials.

    Consecutive N trials have one target, and N arrangements that are a Latin square: every object is once in every
    cell. Over consecutive N x N trials, at each step of the order of mention (not only for the target), every object
    stands once in every cell. Arrangements and orders are random otherwise, and new in every trial.
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
    """Every object in every cell once at every step."""
    count = len(objects)
    targets = np.repeat(rng.permutation(count), count)
    places = np.concatenate([_latin_square(count, rng) for _ in range(count)])
    for order, where in zip(_orders(places, targets, rng), places, strict=True):
        scene = on_grid(objects, [cells[place] for place in where], grid)
        yield Staged(scene, tuple(int(index) for index in order))


def _latin_square(count: int, rng: np.random.Generator) -> Int[np.ndarray, "arrangement object"]:
    """Places of the objects in so many arrangements, each object once in each place."""
    rows, columns = rng.permutation(count), rng.permutation(count)
    return rng.permutation(count)[(rows[:, None] + columns) % count]


def _orders(
    places: Int[np.ndarray, "trial object"], targets: Int[np.ndarray, "trial"], rng: np.random.Generator
) -> Int[np.ndarray, "trial step"]:
    """Orders of mention, the target last, with every (object, place) once at every step.

    Trials and (object, place) are the two sides of a graph in which a trial is joined to its described objects where
    they stand. Every node has N - 1 edges, so the graph falls apart into N - 1 perfect matchings (Kőnig): the steps.
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
    """A trial for every pair, each trial once, in a regular graph (augmenting paths); earlier edges are preferred."""
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
    """Every arrangement ``times`` times, each time with one target and the others in random order: 24 of four objects.

    The set of a public reproduction; which object comes up when, and where, is as balanced as chance has it.
    """
    if len(cells) != len(objects) or not 2 <= len(cells) <= 4:
        raise FinstError(
            f"all arrangements are taken of 2 to 4 objects in as many cells (24 at most), not of {len(objects)} in "
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
    Which values, the seed fixes. The paper has 100 trials a pair on 2x2 (1,600) and 50 on 3x3 (4,050). ``per_pair`` is
    of every arrangement where all of them are taken.
    """
    rng = np.random.default_rng(seed)
    design = counterbalanced if arrangements == "counterbalanced" else all_arrangements
    trials = design(features(rng, len(grid.cells), entropy), grid.cells, grid, per_pair, rng)
    if objects == "same":
        return trials
    return tuple(_recoloured(trial, features(rng, len(grid.cells), entropy), grid) for trial in trials)


def _recoloured(trial: Staged, named: Sequence[Features], grid: Grid) -> Staged:
    """The same places and order with other objects."""
    return replace(trial, scene=on_grid(named, [absolute(obj) for obj in trial.scene.objects], grid))


def pca_set(per_pair: int, seed: int) -> tuple[Staged, ...]:
    """The six named objects in the outer columns of a 3x3 lattice (Fig 1b). The paper has 200 trials a pair: 7,200."""
    cells = [cell for cell in LATTICE.cells if cell[1] != CENTRE[1]]
    return counterbalanced(NAMED, cells, LATTICE, per_pair, np.random.default_rng(seed))


def frame_set(per_pair: int, seed: int) -> tuple[Staged, ...]:
    """Four unique objects in a 2x2 arrangement in each quadrant of a 3x3 lattice (Figs 2, 8, 13, 26-29).

    The lattice's centre is a cell of all four: the bottom right of the first, the top left of the last. 4 x 16 x
    ``per_pair`` trials (number not stated in the paper); blocks of 16 take turns between the quadrants.
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
    """``count`` pictures of 3 to 8 different objects in random cells of a 3x3 grid (Fig 46; the public reproduction has
    100). Numbers take turns, so each is equally frequent (within one)."""
    rng = np.random.default_rng(seed)
    sizes = np.concatenate([rng.permutation(COUNTS) for _ in range(-(-count // len(COUNTS)))])[:count]
    return tuple(_counted(rng, size) for size in sizes.tolist())


def _counted(rng: np.random.Generator, size: int) -> Scene:
    named = [COUNTED[place] for place in rng.permutation(len(COUNTED))[:size]]
    cells = [LATTICE.cells[place] for place in rng.permutation(len(LATTICE.cells))[:size]]
    return on_grid(named, cells, LATTICE)
