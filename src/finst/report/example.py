"""One trial of an experiment for a page: pictures and texts, no tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8

from finst.errors import FinstError

Edges = tuple[tuple[float, float], ...]
"""Start and end of each row (or column) of image tokens, in px of the picture."""


@dataclass(frozen=True)
class Lattice:
    """Where a model's image tokens are in the picture: models crop, pad and shrink it, so they need not fill it."""

    rows: Edges
    cols: Edges

    @classmethod
    def even(cls, grid: tuple[int, int], height: int, width: int) -> Lattice:
        """``grid`` rows and columns of equal size that fill a picture of ``height`` x ``width`` px."""
        rows, cols = (np.linspace(0, size, count + 1) for size, count in zip((height, width), grid, strict=True))
        return cls(tuple(pairwise(rows.tolist())), tuple(pairwise(cols.tolist())))


@dataclass(frozen=True)
class Cells:
    """The image tokens that show one object."""

    object: int
    name: str
    patches: tuple[tuple[int, int], ...]
    """(row, column) of each on the grid of image tokens."""


@dataclass(frozen=True, eq=False)
class ContextView:
    """One context's picture.

    Raises FinstError when the picture has objects and ``targets`` does not say which of them the answer names.
    """

    name: str
    caption: str
    image: UInt8[np.ndarray, "height width 3"]
    cells: tuple[Cells, ...]
    answer: str
    """The correct answer to the prompt in this context."""
    targets: tuple[int, ...] = ()
    """The objects (as in ``cells``) that the answer names; a page marks them. Empty for pictures without objects."""
    lattice: Lattice | None = None
    """Where the image tokens are; None if they fill the picture evenly."""

    def __post_init__(self) -> None:
        known = {cells.object: cells.name for cells in self.cells}
        if known and not self.targets:
            raise FinstError(f"the example {self.name!r} shows objects and has no target: expected {_choices(known)}")
        if unknown := [target for target in self.targets if target not in known]:
            raise FinstError(f"the example {self.name!r} has the target {unknown[0]}: expected {_choices(known)}")
        if unsaid := _unsaid(known, self.targets, self.answer.lower()):
            raise FinstError(
                f"the example {self.name!r} has the target {unsaid[0]!r}, and its answer is {self.answer!r}: expected "
                "an answer that names the target"
            )

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the targets."""
        return tuple(cells.name for cells in self.cells if cells.object in self.targets)


def _unsaid(known: dict[int, str], targets: Sequence[int], answer: str) -> list[str]:
    """The names of targets that the answer does not name: in full where it names any object so, else by a word."""
    names = {index: name.lower() for index, name in known.items()}
    in_full = {index for index, name in names.items() if name in answer}
    named = in_full or {index for index, name in names.items() if any(word in answer for word in name.split())}
    return [known[target] for target in targets if target not in named]


def _choices(known: dict[int, str]) -> str:
    return " or ".join(f"{index} ({name})" for index, name in known.items()) or "none, since it shows no objects"


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


def outline(patches: Sequence[tuple[int, int]], lattice: Lattice) -> str:
    """An SVG path around (row, column) patches of a lattice: the edges that belong to only one patch."""
    inside = set(patches)
    edges = []
    for row, col in sorted(inside):
        (top, bottom), (left, right) = lattice.rows[row], lattice.cols[col]
        edges += [f"M{left:g} {top:g}H{right:g}"] if (row - 1, col) not in inside else []
        edges += [f"M{left:g} {bottom:g}H{right:g}"] if (row + 1, col) not in inside else []
        edges += [f"M{left:g} {top:g}V{bottom:g}"] if (row, col - 1) not in inside else []
        edges += [f"M{right:g} {top:g}V{bottom:g}"] if (row, col + 1) not in inside else []
    return "".join(edges)
