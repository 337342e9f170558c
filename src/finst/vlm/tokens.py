"""Token roles: every position of an encoded prompt has exactly one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from finst.errors import FinstError, choice

Kind = Literal["template", "text", "image", "colour", "noun", "comma", "last", "answer"]
"""``text`` is prompt text without a role of its own. ``last`` is the prompt's last token, where the answer is
predicted. ``answer`` is every token after it, when a prompt is encoded together with its answer."""

Patch = tuple[int, int]
"""(row, column) on the grid of image tokens, counted from the top left."""

Window = tuple[float, float, float, float]
"""(left, top, right, bottom) in px of a picture: the part of it that a grid of image tokens is stretched over."""


@dataclass(frozen=True)
class Role:
    """A position's role. ``object`` indexes the scene's objects (colour, noun, comma); ``patch`` is for images."""

    kind: Kind
    object: int | None = None
    patch: Patch | None = None
    view: int = 0
    """Index of the patch's view in ``TokenMap.views``."""


@dataclass(frozen=True, eq=False)
class View:
    """A grid of image tokens over the picture."""

    rows: Float[np.ndarray, "row 2"]
    """Top and bottom of each row, in px of the picture; outside of the picture where a model sees padding."""
    cols: Float[np.ndarray, "col 2"]
    """Left and right of each column, in px of the picture."""

    @classmethod
    def even(cls, grid: tuple[int, int], window: Window) -> View:
        """``grid`` rows and columns of equal size that fill the window."""
        left, top, right, bottom = window
        rows, cols = np.linspace(top, bottom, grid[0] + 1), np.linspace(left, right, grid[1] + 1)
        return cls(np.stack([rows[:-1], rows[1:]], axis=1), np.stack([cols[:-1], cols[1:]], axis=1))

    @property
    def grid(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self.rows), len(self.cols)

    @property
    def window(self) -> Window:
        """The part of the picture from the first to the last row and column, in px."""
        (top, bottom), (left, right) = ((float(x[0, 0]), float(x[-1, 1])) for x in (self.rows, self.cols))
        return left, top, right, bottom

    @property
    def areas(self) -> Float[np.ndarray, "patch"]:
        """Area of each patch in square px of the picture; patches in reading order."""
        return np.outer(np.diff(self.rows), np.diff(self.cols)).ravel()


@dataclass(frozen=True, eq=False)
class TokenMap:
    """The roles of all positions, and which image tokens show which object."""

    roles: tuple[Role, ...]
    views: tuple[View, ...]
    """The grids of image tokens. Most models have one; some see the picture a second time, in more detail."""
    coverage: Float[np.ndarray, "object patch"]
    """Share, in [0, 1], of each patch's area that shows the object; view by view, patches in reading order."""
    unplaced: str = ""
    """The reason why image tokens have no place in the picture, in models that mix places; empty in other models. The
    only patch is then the whole picture."""

    def __len__(self) -> int:
        return len(self.roles)

    @property
    def grid(self) -> tuple[int, int]:
        """Number of rows and columns of image tokens in the first view, which shows the whole picture."""
        return self.views[0].grid

    @property
    def window(self) -> Window:
        """The part of the picture that the first view shows, in px: all of it, except in models that crop."""
        return self.views[0].window

    @property
    def layout(self) -> str:
        """The image tokens in short: ``10×10``; with two views ``27×27 + 54×54``; without places ``64``."""
        if self.unplaced:
            return str(len(self.positions("image")))
        return " + ".join("{}×{}".format(*view.grid) for view in self.views)

    def positions(self, kind: Kind, object: int | None = None) -> tuple[int, ...]:
        """All positions of a kind (of one object, if given); empty when the prompt has none."""
        if kind not in get_args(Kind):
            raise choice("role", kind, get_args(Kind))
        return tuple(
            pos
            for pos, role in enumerate(self.roles)
            if role.kind == kind and (object is None or role.object == object)
        )

    def described(self, index: int) -> tuple[int, ...]:
        """The colour and noun tokens by which the prompt names object ``index``.

        Raises FinstError when the prompt does not name it.
        """
        positions = tuple(sorted(self.positions("colour", index) + self.positions("noun", index)))
        if not positions:
            named = sorted({role.object for role in self.roles if role.kind in ("colour", "noun")}, key=str)
            raise FinstError(
                f"the prompt does not describe object {index}: expected one of the objects that it names "
                f"({', '.join(map(str, named)) or 'it names none'})"
            )
        return positions

    def object_patches(self, index: int, above: float = 0.0, view: int | None = None) -> tuple[int, ...]:
        """Positions of the image tokens of which object ``index`` covers more than the share ``above``.

        All views are included, so that an edit reaches every token that shows the object; ``view`` selects one. Raises
        FinstError for an unknown object or view, and when image tokens have no place in the picture.
        """
        if self.unplaced:
            raise FinstError(
                f"no image tokens belong to an object: {self.unplaced}; expected a model whose image tokens are patches"
            )
        if not 0 <= index < len(self.coverage):
            raise choice("object", index, range(len(self.coverage)))
        if view is not None and not 0 <= view < len(self.views):
            raise choice("view", view, range(len(self.views)))
        positions = self.positions("image")
        shown = [positions[patch] for patch in np.flatnonzero(self.coverage[index] > above)]
        return tuple(pos for pos in shown if view is None or self.roles[pos].view == view)

    @property
    def last(self) -> int:
        """The last position of the prompt: its logits predict the answer."""
        return self.positions("last")[0]


def patch_coverage(masks: Bool[np.ndarray, "object height width"], view: View) -> Float[np.ndarray, "object patch"]:
    """Share of each patch's area that each object covers; patches in reading order.

    Exact for any picture size: a pixel on the border of two patches counts in both, each with its part of the pixel.
    """
    _, height, width = masks.shape
    rows, cols = _shares(height, view.rows), _shares(width, view.cols)
    return (rows @ masks.astype(np.float64) @ cols.T).reshape(len(masks), len(rows) * len(cols))


def _shares(pixels: int, patches: Float[np.ndarray, "patch 2"]) -> Float[np.ndarray, "patch pixel"]:
    """Along one axis: the share of each patch that each pixel fills."""
    pixel = np.arange(pixels)
    overlap = np.minimum(patches[:, 1:], pixel + 1) - np.maximum(patches[:, :1], pixel)
    return np.clip(overlap, 0, None) / np.diff(patches)
