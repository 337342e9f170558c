"""Trials of the representational analyses: scene, prompt, and what is said of the object that each token is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.errors import FinstError
from finst.experiments.representations.spec import LAST, TrialSpec
from finst.prompts import Prompt, scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Cell, Grid, Obj
from finst.scenes.sets import Staged, absolute
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import Reader

COMMAS = "commas"
"""All of these, for what is averaged over them."""


@dataclass(frozen=True)
class Label:
    """The object that a token is about."""

    relative: Cell
    """Row and column within the arrangement."""
    absolute: Cell
    """Row and column on the canvas."""
    colour: str
    shape: str


@dataclass(frozen=True)
class Trial:
    """One question about one scene."""

    staged: Staged
    prompt: Prompt
    labels: tuple[Label, ...]
    """Of the described objects as they are mentioned (their commas), and of the target (the last token)."""


def trial_of(spec: TrialSpec, staged: Staged) -> Trial:
    """The sentence describes all objects but the target, whose features it does not name unless the spec says so."""
    *described, target = staged.order
    prompt = scene_description(
        staged.scene, described, target, spec.placement, leak_target_colour=spec.leak_target_colour
    )
    return Trial(staged, prompt, tuple(_label(staged, obj) for obj in staged.stages))


def _label(staged: Staged, obj: Obj) -> Label:
    return Label(staged.relative(obj), absolute(obj), obj.colour, obj.shape)


def roles_of(objects: int) -> tuple[str, ...]:
    """The tokens that are about an object each, of prompts over so many objects: their commas and the last token."""
    return (*(f"comma {place}" for place in range(objects - 1)), LAST)


def context_of(reader: Reader, trial: Trial) -> Encoded:
    """The trial with its answer."""
    return encode(reader, draw(trial.staged.scene), trial.prompt, trial.prompt.answer)


def positions_of(context: Encoded, trial: Trial) -> tuple[int, ...]:
    """Where the tokens of ``roles_of`` are; the last one where a comma takes several.

    Raises FinstError when the tokenizer joins a comma to the word before it.
    """
    found = [context.tokens.positions("comma", index) for index in trial.staged.order[:-1]]
    if not all(found):
        raise FinstError(
            f"the tokenizer has no token of its own for what follows object {found.index(())} in "
            f"{trial.prompt.sentence!r}: expected a comma or 'and' apart from the object's name"
        )
    return (*(where[-1] for where in found), context.tokens.last)


def labelled(trials: Sequence[Trial], roles: Sequence[str]) -> xr.Dataset:
    """The labels of every (trial, role): cells as ``relative`` and ``absolute`` (cell axis: row, column), and words."""
    every = roles_of(len(trials[0].labels))
    rows = [[trial.labels[every.index(role)] for role in roles] for trial in trials]

    def column(name: str) -> np.ndarray:
        return np.array([[getattr(label, name) for label in row] for row in rows])

    cells = {name: (("trial", "role", "cell"), column(name)) for name in ("relative", "absolute")}
    words = {name: (("trial", "role"), column(name)) for name in ("colour", "shape")}
    labels = xr.Dataset({**cells, **words}, coords={"role": list(roles), "cell": ["row", "column"]})
    for name, text in LABELS.items():
        labels[name].attrs = {"units": "1", "long_name": text}
    return labels


LABELS = {
    "relative": "row and column of the token's object within the arrangement, from 0",
    "absolute": "row and column of the token's object on the canvas, from 0",
    "colour": "colour of the token's object",
    "shape": "shape of the token's object",
}


def square(text: str) -> Grid:
    """``2x2`` or ``3x3``, the grids that the paper's sets of unique objects have. Raises FinstError for others."""
    grid = Grid.parse(text)
    if (grid.rows, grid.cols) not in ((2, 2), (3, 3)):
        raise FinstError(f"grid is {text}: expected 2x2 or 3x3, as in the paper")
    return grid
