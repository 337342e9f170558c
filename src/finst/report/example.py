"""One sample of an experiment, ready to be shown: plain pictures and words, no tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True)
class Cells:
    """The image tokens that show one object."""

    object: int
    name: str
    patches: tuple[tuple[int, int], ...]
    """(row, column) on the grid of image tokens."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One context's picture."""

    name: str
    caption: str
    image: UInt8[np.ndarray, "height width 3"]
    cells: tuple[Cells, ...]
    answer: str
    """The right answer to the prompt in this context."""


@dataclass(frozen=True)
class Chip:
    """One token of the prompt, or the run of all image tokens."""

    text: str
    kind: str
    """The token's role."""
    patched: tuple[str, ...] = ()
    """What is done here: the conditions that patch, or that it is read."""
    tokens: int = 1


@dataclass(frozen=True, eq=False)
class Example:
    """A pair of contexts and the prompt that they share."""

    pair: int
    """Its label in the summary."""
    grid: tuple[int, int]
    """Rows and columns of image tokens."""
    shots: tuple[Shot, ...]
    chips: tuple[Chip, ...]
    contrasts: dict[str, tuple[str, str]]
    """Of each condition, the answers (a1, a1*)."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One trial with a prompt of its own."""

    grid: tuple[int, int]
    """Rows and columns of image tokens."""
    shot: Shot
    chips: tuple[Chip, ...]
