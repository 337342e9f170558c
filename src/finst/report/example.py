"""One trial of an experiment for a page: pictures and texts, no tensors."""

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
    """(row, column) of each on the grid of image tokens."""


@dataclass(frozen=True, eq=False)
class ContextView:
    """One context's picture."""

    name: str
    caption: str
    image: UInt8[np.ndarray, "height width 3"]
    cells: tuple[Cells, ...]
    answer: str
    """The correct answer to the prompt in this context."""


@dataclass(frozen=True)
class TokenView:
    """One token of the prompt, or all image tokens together."""

    text: str
    kind: str
    """The token's role."""
    marks: tuple[str, ...] = ()
    """The conditions that patch this token, or that it is read or edited."""
    tokens: int = 1


@dataclass(frozen=True, eq=False)
class TrialExample:
    """One trial with its prompt."""

    grid: tuple[int, int]
    """Rows and columns of image tokens."""
    view: ContextView
    tokens: tuple[TokenView, ...]
