"""Trials of the representational analyses: scene, prompt, and the labels of the object that each token is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.errors import FinstError
from finst.experiments.representations.roles import roles_of
from finst.experiments.representations.spec import TrialSpec
from finst.experiments.units import documented
from finst.prompts import Prompt, scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Cell, Obj
from finst.scenes.sets import Staged, absolute
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import Reader

DOCUMENTATION = {
    "relative": ("1", "row and column of the token's object within the arrangement, from 0"),
    "absolute": ("1", "row and column of the token's object on the canvas, from 0"),
    "colour": ("1", "colour of the token's object"),
    "shape": ("1", "shape of the token's object"),
}


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
    """One a token: the described objects in the order of mention (their commas), then the target (the last token)."""


def trial_of(spec: TrialSpec, staged: Staged) -> Trial:
    """A trial whose sentence describes all objects but the target.

    It names no feature of the target, but for the colour if ``spec.leak_target_colour``.
    """
    *described, target = staged.order
    prompt = scene_description(
        staged.scene, described, target, spec.placement, leak_target_colour=spec.leak_target_colour
    )
    return Trial(staged, prompt, tuple(_label(staged, obj) for obj in staged.stages))


def _label(staged: Staged, obj: Obj) -> Label:
    return Label(staged.relative(obj), absolute(obj), obj.colour, obj.shape)


def context_of(reader: Reader, trial: Trial) -> Encoded:
    """The trial's picture and prompt, encoded with its answer."""
    return encode(reader, draw(trial.staged.scene), trial.prompt, trial.prompt.answer)


def positions_of(context: Encoded, trial: Trial) -> tuple[int, ...]:
    """Positions of the tokens of ``roles_of``; where a comma takes several tokens, that of the last one.

    Raises FinstError when the tokenizer joins a comma to the word before it.
    """
    commas = [context.tokens.positions("comma", index) for index in trial.staged.order[:-1]]
    if not all(commas):
        raise FinstError(
            f"the tokenizer has no token of its own for what follows object {commas.index(())} in "
            f"{trial.prompt.sentence!r}: expected a comma or 'and' apart from the object's name"
        )
    return (*(positions[-1] for positions in commas), context.tokens.last)


def labels_of(trials: Sequence[Trial], roles: Sequence[str]) -> xr.Dataset:
    """The labels of every (trial, role).

    Cells are ``relative`` and ``absolute`` (dims trial, role, cell: row and column), words are ``colour`` and ``shape``
    (dims trial, role).
    """
    names = roles_of(len(trials[0].labels))
    rows = [[trial.labels[names.index(role)] for role in roles] for trial in trials]

    def values(field: str) -> np.ndarray:
        return np.array([[getattr(label, field) for label in row] for row in rows])

    cells = {name: (("trial", "role", "cell"), values(name)) for name in ("relative", "absolute")}
    words = {name: (("trial", "role"), values(name)) for name in ("colour", "shape")}
    labels = xr.Dataset({**cells, **words}, coords={"role": list(roles), "cell": ["row", "column"]})
    return documented(labels, DOCUMENTATION)
