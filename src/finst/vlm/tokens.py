"""Which token is what: every position of an encoded prompt has exactly one role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from finst.errors import FinstError, choice

Kind = Literal["template", "text", "image", "colour", "noun", "comma", "last", "answer"]
"""``text`` is prompt text without a role of its own, ``last`` the prompt's last token, where the answer is predicted,
and ``answer`` what follows it when a text is encoded together with its answer."""

Patch = tuple[int, int]
"""(row, column) on the grid of image tokens, counted from the top left."""

Window = tuple[float, float, float, float]
"""(left, top, right, bottom) in px of a picture: the part of it that a grid of image tokens is stretched over."""


@dataclass(frozen=True)
class Role:
    """What one position is. ``object`` indexes the scene's objects (colour, noun, comma); ``patch`` is for images."""

    kind: Kind
    object: int | None = None
    patch: Patch | None = None


@dataclass(frozen=True, eq=False)
class TokenMap:
    """The roles of all positions, and which image tokens show which object."""

    roles: tuple[Role, ...]
    grid: tuple[int, int]
    """Rows and columns of image tokens."""
    window: Window
    """The part of the picture that they show: all of it, but for models that cut."""
    coverage: Float[np.ndarray, "object patch"]
    """Share, in [0, 1], of each patch's area that shows the object; patches in reading order."""

    def __len__(self) -> int:
        return len(self.roles)

    def positions(self, kind: Kind, object: int | None = None) -> tuple[int, ...]:
        """All positions of a kind, of one object when it is given; empty when the prompt has none."""
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
        found = tuple(sorted(self.positions("colour", index) + self.positions("noun", index)))
        if not found:
            named = sorted({role.object for role in self.roles if role.kind in ("colour", "noun")}, key=str)
            raise FinstError(
                f"the prompt does not describe object {index}: expected one of the objects that it names "
                f"({', '.join(map(str, named)) or 'it names none'})"
            )
        return found

    def object_patches(self, index: int, above: float = 0.0) -> tuple[int, ...]:
        """Positions of the image tokens of which object ``index`` covers more than the share ``above``."""
        if not 0 <= index < len(self.coverage):
            raise choice("object", index, range(len(self.coverage)))
        positions = self.positions("image")
        return tuple(positions[patch] for patch in np.flatnonzero(self.coverage[index] > above))

    @property
    def last(self) -> int:
        """The last position of the prompt: its logits predict the answer."""
        return self.positions("last")[0]


def patch_coverage(
    masks: Bool[np.ndarray, "object height width"], grid: tuple[int, int], window: Window | None = None
) -> Float[np.ndarray, "object patch"]:
    """Share of each patch's area that each object covers when the grid is laid over the window (None: the picture).

    Exact for any picture size: a pixel that a patch border cuts counts in both patches, with the part that lies there.
    """
    _, height, width = masks.shape
    left, top, right, bottom = window or (0, 0, width, height)
    rows, cols = _shares(height, grid[0], top, bottom), _shares(width, grid[1], left, right)
    return (rows @ masks.astype(np.float64) @ cols.T).reshape(len(masks), grid[0] * grid[1])


def _shares(pixels: int, patches: int, start: float, stop: float) -> Float[np.ndarray, "patch pixel"]:
    """Along one axis: the share that each pixel fills of each of the patches between ``start`` and ``stop``."""
    borders = start + np.arange(patches + 1) * ((stop - start) / patches)
    pixel = np.arange(pixels)
    overlap = np.minimum(borders[1:, None], pixel + 1) - np.maximum(borders[:-1, None], pixel)
    return np.clip(overlap, 0, None) * (patches / (stop - start))
