"""The paper's sets of scenes for representational analyses: place and features of objects are independent by design.

Every trial shows some objects; all but one are described, in some order, and the last is to be named. At every step of
that (the first described object, the second, ..., the named one) each object stands in each cell equally often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from finst.errors import FinstError
from finst.scenes.designs import Entropy, Features, features
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

    Consecutive N trials have one target and one order of mention, and N arrangements that are a Latin square: every
    object is once in every cell. Consecutive N x N trials have every object once at every step of the order. So at
    each step (not only for the target) every object stands in every cell exactly ``per_pair`` times.
    """
    count = len(objects)
    if len(cells) != count or count < 2:
        raise FinstError(f"a counterbalanced set needs as many cells as objects, at least 2; got {count}, {len(cells)}")
    if per_pair < 1:
        raise FinstError(f"trials is {per_pair}: expected at least 1 for every pair of object and cell")
    trials: list[Staged] = []
    for _ in range(per_pair):
        for order in _orders(count, rng):
            for places in _latin_square(count, rng):
                scene = on_grid(objects, [cells[place] for place in places], grid)
                trials.append(Staged(scene, tuple(int(index) for index in order)))
    return tuple(trials)


def _orders(count: int, rng: np.random.Generator) -> Int[np.ndarray, "target step"]:
    """An order of all objects for every target, in which every object comes once at every step."""
    labels, steps = rng.permutation(count), np.append(1 + rng.permutation(count - 1), 0)
    return labels[(np.arange(count)[:, None] + steps) % count]


def _latin_square(count: int, rng: np.random.Generator) -> Int[np.ndarray, "arrangement object"]:
    """Places of the objects in so many arrangements, each object once in each place."""
    rows, columns = rng.permutation(count), rng.permutation(count)
    return rng.permutation(count)[(rows[:, None] + columns) % count]


def unique_objects(grid: Grid, entropy: Entropy, per_pair: int, seed: int) -> tuple[Staged, ...]:
    """The base design and the entropy sets (Figs 1c, 6, 7): as many objects as cells, the same in all trials.

    low: all conjunctions of 2x2 values on a 2x2 grid and of 3x3 values on a 3x3 grid; high: as distinct as possible.
    Which values, the seed fixes. The paper has 100 trials a pair on 2x2 (1,600) and 50 on 3x3 (4,050).
    """
    rng = np.random.default_rng(seed)
    return counterbalanced(features(rng, len(grid.cells), entropy), grid.cells, grid, per_pair, rng)


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
