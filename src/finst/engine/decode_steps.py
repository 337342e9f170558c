"""Edits during decoding: edits repeated at generated tokens, and edits sorted by forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Int

from finst.engine.edits import Block, Rows
from finst.engine.sites import Site
from finst.errors import FinstError


def sustained(rows: Rows, length: int, steps: Sequence[int], from_position: int | None = None) -> Rows:
    """``rows`` with their edits at one position repeated at generated tokens.

    ``length`` is the context's, in tokens. ``steps`` are indices of generated tokens, from 0: edits at
    ``from_position`` (default: the context's last) are repeated at ``length + step`` for each of them. To edit every
    forward pass of ``generate`` up to ``max_new_tokens``, give ``range(max_new_tokens - 1)``: the last token is never
    fed back.

    Raises FinstError for steps below 0, and when rows have edits but none of them at ``from_position``.
    """
    source = length - 1 if from_position is None else from_position
    after = np.array(steps, dtype=np.int64)
    if after.min(initial=0) < 0:
        raise FinstError(f"generated tokens are counted from 0; got step {after.min()}")
    repeated = {site: np.flatnonzero(block.pos == source) for site, block in rows.blocks.items()}
    if rows.blocks and not any(map(len, repeated.values())):
        raise FinstError(f"no row has an edit at position {source}, so there is nothing to repeat at generated tokens")
    return replace(
        rows, blocks={site: _prolonged(block, repeated[site], length + after) for site, block in rows.blocks.items()}
    )


def _prolonged(block: Block, repeated: Int[np.ndarray, "edit"], positions: Int[np.ndarray, "step"]) -> Block:
    """The block's edits, followed by the ``repeated`` ones at each of ``positions``."""
    edits = np.concatenate([np.arange(len(block.pos)), np.tile(repeated, len(positions))])
    return picked(block, edits, np.concatenate([block.pos, np.repeat(positions, len(repeated))]))


def picked(block: Block, edits: Int[np.ndarray, "edit"], positions: Int[np.ndarray, "edit"] | None = None) -> Block:
    """Some of a block's edits, at other ``positions`` if given."""
    return Block(
        block.row[edits],
        block.layer[edits],
        block.pos[edits] if positions is None else positions,
        block.head[edits],
        block.adds[edits],
        block.value[torch.from_numpy(edits).to(block.value.device)],
    )


def by_step(rows: Rows, length: int, steps: int) -> tuple[dict[Site, Block], ...]:
    """The edits of each forward pass: pass 0 takes the context, pass s + 1 takes generated token s."""
    parts: tuple[dict[Site, Block], ...] = tuple({} for _ in range(steps))
    for site, block in rows.blocks.items():
        step = np.maximum(block.pos - (length - 1), 0)
        order = np.argsort(step, kind="stable")
        bounds = np.searchsorted(step[order], np.arange(steps + 1))
        for part, (start, stop) in zip(parts, pairwise(bounds), strict=True):
            if start < stop:
                part[site] = picked(block, order[start:stop])
    return parts
