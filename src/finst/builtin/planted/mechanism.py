"""The planted mechanism: the results that every experiment on these models should find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from finst.builtin.planted.space import STREAM
from finst.errors import choice

Coding = Literal["relative", "absolute"]
"""relative: the sides on which an object has neighbours; absolute: the third of the lattice of its row and column."""

Place = tuple[int, int]
"""(layer, head), both counted from 0."""

LAYERS, HEADS, D_HEAD = 6, 8, 32

NAMES_COLOUR, NAMES_SHAPE = (0, 0), (0, 1)
DETECTS_QUESTION, STOPS = (1, 0), (1, 5)
LOOKS_UP: tuple[Place, ...] = ((0, 2), (0, 3), (0, 4), (0, 5))
BAG_OF_FEATURES, BAG_OF_PLACES = (1, 3), (1, 6)
RETRIEVES, SELECTS, FETCHES, COUNTS = (2, 5), (3, 1), (4, 6), (4, 2)
ANSWERS = (3, 4)
ECHOES_NAMED, ECHOES_NEXT = (5, 0), (5, 4)
"""(layer, head) of each planted head; ``finst.builtin.planted.circuit`` defines its function."""


@dataclass(frozen=True)
class Planted:
    """A planted model: its coding of positions, and the heads of every stage of causal mediation.

    ``coding`` is None for the model without position IDs, which counts features instead.
    """

    name: str
    coding: Coding | None

    @property
    def heads(self) -> Mapping[str, frozenset[Place]]:
        """By stage (``mediation.STAGES``): the (layer, head) pairs whose patch has the stage's effect."""
        if self.coding is None:
            return _stages(frozenset(), frozenset(), frozenset({COUNTS}))
        return _stages(frozenset({RETRIEVES}), frozenset({SELECTS}), frozenset({FETCHES}))

    @property
    def needed(self) -> frozenset[Place]:
        """All heads that the model needs to complete a description."""
        names = frozenset({NAMES_COLOUR, NAMES_SHAPE})
        looks = frozenset(LOOKS_UP) if self.coding == "absolute" else frozenset()
        return names | looks | frozenset().union(*self.heads.values())

    def ids(self, where: Literal["seen", "named", "next"]) -> Float[Tensor, "d_model part"]:
        """Orthonormal basis of the position IDs in the residual stream.

        ``seen`` is on image tokens, ``named`` where the prompt has named an object (from its noun on), ``next`` at the
        token before the next word. Column k is the same part of an ID in all three. Raises FinstError for other names.
        """
        if where not in ("seen", "named", "next"):
            raise choice("place of position IDs", where, ("seen", "named", "next"))
        return torch.eye(STREAM.width)[:, list(STREAM.dims(f"{where} place"))]


def _stages(*heads: frozenset[Place]) -> Mapping[str, frozenset[Place]]:
    return MappingProxyType(dict(zip(("id_retrieval", "id_selection", "feature_retrieval"), heads, strict=True)))


PLANTED: Mapping[str, Planted] = MappingProxyType(
    {
        planted.name: planted
        for planted in (
            Planted("planted", "relative"),
            Planted("planted-absolute", "absolute"),
            Planted("planted-counting", None),
        )
    }
)
"""The planted models by the name that ``open_vlm`` takes."""
