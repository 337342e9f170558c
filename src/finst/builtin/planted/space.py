"""Residual streams with named coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from finst.errors import choice
from finst.scenes.shapes import COLOURS, SHAPES

Rows = Float[np.ndarray, "row coordinate"]
"""Readings: each row times (x, 1), a token's vector with a 1 appended, is one number."""


@dataclass(frozen=True)
class Space:
    """Blocks of named coordinates, in order; the remaining coordinates of ``width`` are zero."""

    blocks: Mapping[str, Sequence[str]]
    width: int

    def dims(self, block: str) -> tuple[int, ...]:
        """The coordinates of a block."""
        if block not in self.blocks:
            raise choice("block", block, self.blocks)
        start = 0
        for name, entries in self.blocks.items():
            if name == block:
                break
            start += len(entries)
        return tuple(range(start, start + len(self.blocks[block])))

    def read(self, *blocks: str) -> Rows:
        """Rows that read the coordinates of these blocks."""
        return np.eye(self.width + 1)[[dim for block in blocks for dim in self.dims(block)]]

    def sum(self, block: str, entries: Iterable[str]) -> Float[np.ndarray, "coordinate"]:
        """A row that reads the sum of some entries of a block."""
        names = list(self.blocks[block])
        return self.read(block)[[names.index(entry) for entry in entries]].sum(axis=0)

    @property
    def one(self) -> Float[np.ndarray, "coordinate"]:
        """The row that reads 1 from every token: a bias."""
        return np.eye(self.width + 1)[-1]


PLACE = ("below some", "above some", "right of some", "left of some")
"""A position ID in relative coding: +1 for each side on which another object is, else -1.

In absolute coding the four coordinates are +1 if the row is beyond the first and the second threshold, and if the
column is, else -1.
"""

STREAM = Space(
    {
        "ballast": ("ballast",),
        "kind": ("opening", "anchor", "image", "object", "noun", "pause", "plain", "question"),
        "precedes": ("spaced colour", "bare colour", "shape"),
        "answer": ("colour", "complete"),
        "seen colour": tuple(COLOURS),
        "seen shape": SHAPES,
        "seen place": PLACE,
        "word colour": tuple(COLOURS),
        "word shape": SHAPES,
        "named colour": tuple(COLOURS),
        "named shape": SHAPES,
        "named place": PLACE,
        "next place": PLACE,
        "next colour": tuple(COLOURS),
        "next shape": SHAPES,
        "aside colour": tuple(COLOURS),
        "aside shape": SHAPES,
        "aside seen place": PLACE,
        "aside named place": PLACE,
        "aside next place": PLACE,
        "noise": tuple(map(str, range(16))),
    },
    width=256,
)
"""The decoder's residual stream. ``seen`` is on image tokens, ``word`` on the tokens of colours and shapes, ``named``
where the prompt has named an object, ``next`` where the next word is chosen, ``precedes`` on tokens before a colour or
a shape, ``plain`` on every token except objects, nouns and the opening. ``answer`` is where a question is answered: a
colour is due, or has been given (``complete``). Nothing reads ``aside`` and ``noise``."""

BALLAST = 16.0
"""Every token's entry in ``ballast``, so that no head's output changes a token's norm by much."""

CONTENT = 8.0
"""Squared norm, without the ballast, of an object's image token and of a named noun where IDs are selected. They are
equal, so that attention to both is equal. With this norm and the ballast's, a token passes the RMS norms unchanged."""
