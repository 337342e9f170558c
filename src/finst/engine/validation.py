"""Checks that rows and reads fit the model and the contexts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finst.engine.edits import Block, Rows
from finst.engine.reads import Read
from finst.engine.record import Recording
from finst.engine.sites import HEAD_SITES, Site, heads_and_width
from finst.errors import FinstError
from finst.vlm.open import VLM


def check(vlm: VLM, clean: Recording, rows: Rows, reads: Sequence[Read], generated: int = 0) -> None:
    """Raises FinstError for rows or reads that do not fit the model and the contexts.

    ``generated`` is the number of tokens after the context that can be edited as well.
    """
    _check_range("a row's clean context", rows.context, len(clean))
    for site, block in rows.blocks.items():
        _check_block(vlm, clean.length, generated, site, block)
    for read in reads:
        _check_range("a read's row", () if read.rows is None else read.rows, rows.count)
        _check_range("a read's layer", read.layers, vlm.n_layers)
        _check_range("a read's position", read.positions, clean.length)


def _check_block(vlm: VLM, length: int, generated: int, site: Site, block: Block) -> None:
    heads, width = heads_and_width(vlm, site)
    place = f"an edit's position (that of the first generated token is {length})" if generated else "an edit's position"
    _check_range("an edit's layer", block.layer, vlm.n_layers)
    _check_range(f"the head of an edit at site {site!r}", block.head, heads)
    _check_range(place, block.pos, length + generated)
    if block.value.shape[1] not in (1, width):
        per, name = ("a head", "d_head") if site in HEAD_SITES else ("a position", "d_model")
        raise FinstError(
            f"an edit's value has {block.value.shape[1]} entries {per} at site {site!r}; the model's {name} is {width}"
        )


def _check_range(name: str, indices: Sequence[int] | np.ndarray, limit: int) -> None:
    """Raises FinstError unless all of ``indices`` are in 0..limit-1."""
    given = np.asarray(indices)
    if given.size and not 0 <= given.min() <= given.max() < limit:
        raise FinstError(f"{name} must be in 0..{limit - 1}; got {given.min()}..{given.max()}")
