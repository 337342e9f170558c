"""The paper's sets of scenes, counterbalanced and seeded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int

from finst.errors import FinstError, choice
from finst.options import Entropy
from finst.scenes.object import OBJECT_PX, Grid, Obj, Scene, on_grid
from finst.scenes.shapes import COLOURS, SHAPES

Features = tuple[str, str]
"""(colour, shape)."""


def features(rng: np.random.Generator, count: int, entropy: Entropy) -> list[Features]:
    """``count`` random, distinct (colour, shape) pairs.

    low uses 2x2 values (up to 4 objects) or 3x3 values (up to 9); high repeats a value only when there are more objects
    than values; any uses all conjunctions. Raises FinstError when there are not enough pairs or ``entropy`` is unknown.
    """
    colours, shapes = list(COLOURS), list(SHAPES)
    if entropy == "low":
        values = 2 if count <= 4 else 3
        if count > values**2:
            raise FinstError(f"low entropy has at most 9 conjunctions, not {count}")
        few_colours = rng.choice(colours, values, replace=False)
        few_shapes = rng.choice(shapes, values, replace=False)
        pairs = [(str(c), str(s)) for c in few_colours for s in few_shapes]
        return [pairs[i] for i in rng.permutation(len(pairs))[:count]]
    if entropy == "high":
        if count > len(colours):
            raise FinstError(f"high entropy has at most {len(colours)} distinct colours, not {count}")
        spread = np.concatenate([rng.permutation(shapes) for _ in range(-(-count // len(shapes)))])
        return [(str(c), str(s)) for c, s in zip(rng.permutation(colours)[:count], spread[:count], strict=True)]
    if entropy == "any":
        if count > len(colours) * len(shapes):
            raise FinstError(f"there are {len(colours) * len(shapes)} conjunctions of colour and shape, not {count}")
        picks = rng.permutation(len(colours) * len(shapes))[:count]
        return [(colours[i // len(shapes)], shapes[i % len(shapes)]) for i in picks]
    raise choice("entropy", entropy, ("low", "high", "any"))


def grid_scene(rng: np.random.Generator, grid: Grid, count: int, entropy: Entropy = "any", jitter_px: int = 0) -> Scene:
    """``count`` objects in random cells, each shifted by up to ``jitter_px`` px along both axes.

    Raises FinstError for more objects than cells, and for a jitter at which objects may touch.
    """
    if not 1 <= count <= len(grid.cells):
        raise FinstError(f"a {grid.rows}x{grid.cols} grid holds 1 to {len(grid.cells)} objects, not {count}")
    if not 0 <= jitter_px < OBJECT_PX // 2:
        raise FinstError(f"jitter must be in [0, {OBJECT_PX // 2}) px so that objects stay apart, not {jitter_px}")
    cells = [grid.cells[i] for i in rng.permutation(len(grid.cells))[:count]]
    scene = on_grid(features(rng, count, entropy), cells, grid)
    for index, cell in enumerate(cells):
        dx, dy = (int(v) for v in rng.integers(-jitter_px, jitter_px + 1, 2))
        scene = scene.with_object(index, box=grid.box(cell, dx, dy))
    return scene


def free_scene(rng: np.random.Generator, width: int, height: int, count: int, entropy: Entropy = "any") -> Scene:
    """``count`` objects at random, non-overlapping places on a canvas of ``width`` x ``height`` px.

    Raises FinstError when no such places were found in many tries.
    """
    if min(width, height) < OBJECT_PX:
        raise FinstError(f"an object of {OBJECT_PX} px does not fit on {width}x{height} px")
    for _ in range(200):
        lefts = rng.integers(0, width - OBJECT_PX + 1, count)
        tops = rng.integers(0, height - OBJECT_PX + 1, count)
        far = np.maximum(abs(lefts[:, None] - lefts), abs(tops[:, None] - tops)) >= OBJECT_PX
        if (far | np.eye(count, dtype=bool)).all():
            boxes = [(int(x), int(y), int(x) + OBJECT_PX, int(y) + OBJECT_PX) for x, y in zip(lefts, tops, strict=True)]
            names = features(rng, count, entropy)
            return Scene(width, height, tuple(Obj(c, s, box) for (c, s), box in zip(names, boxes, strict=True)))
    raise FinstError(f"{count} objects of {OBJECT_PX} px do not fit freely on {width}x{height} px; use fewer or a grid")


def balanced(rng: np.random.Generator, values: int, trials: int, roles: int) -> Int[np.ndarray, "trial role"]:
    """Values 0..values-1 for each role of each trial: distinct within a trial, and equally often in every role.

    "Equally often" is exact when ``trials`` is a multiple of ``values``, otherwise within one. Raises FinstError for
    more roles than values.
    """
    if roles > values:
        raise FinstError(f"{roles} roles need as many distinct values: expected at most {values}")
    blocks = []
    for _ in range(-(-trials // values)):
        labels = rng.permutation(values)
        shifts = np.concatenate([[0], rng.choice(np.arange(1, values), roles - 1, replace=False)])
        blocks.append(labels[(np.arange(values)[:, None] + shifts) % values])
    return np.concatenate(blocks)[:trials]


@dataclass(frozen=True)
class MediationPair:
    """The contexts of one sample of causal mediation (paper, section "Causal mediation", Fig 1d).

    Object 0 is described, object 1 is the target. ``swapped`` is ``clean`` with the two objects' places exchanged;
    ``changed`` is ``clean`` with another colour and shape for the target, at the same place.
    """

    clean: Scene
    swapped: Scene
    changed: Scene


@lru_cache(maxsize=2)
def mediation_pairs(count: int, seed: int) -> tuple[MediationPair, ...]:
    """``count`` pairs on the 2x2 canvas, two objects side by side.

    Counterbalanced: the described object is left or right, in the upper or lower row, equally often (all four within
    one pair). Every colour and every shape is equally often that of the described object, target and new target.
    """
    rng = np.random.default_rng(seed)
    grid = Grid(2, 2)
    colours, shapes = list(COLOURS), list(SHAPES)
    colour_of = balanced(rng, len(colours), count, 3)
    shape_of = balanced(rng, len(shapes), count, 3)
    places = np.concatenate([rng.permutation(4) for _ in range(-(-count // 4))])[:count]
    pairs = []
    for c, s, place in zip(colour_of, shape_of, places, strict=True):
        row, col = divmod(int(place), 2)
        named = [(colours[i], shapes[j]) for i, j in zip(c, s, strict=True)]
        clean = on_grid(named[:2], [(row, col), (row, 1 - col)], grid)
        changed = clean.with_object(1, colour=named[2][0], shape=named[2][1])
        pairs.append(MediationPair(clean, clean.swapped(0, 1), changed))
    return tuple(pairs)
