"""Who sees whom: earlier tokens, or those in a window of them, and all of one's own block (the tokens of a picture)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from finst.vlm.families.base import Blocks


def visible(
    queries: range, keys: range, blocks: Blocks, window: int | None, device: torch.device
) -> Bool[Tensor, "query key"]:
    """Whether the tokens at ``queries`` see those at ``keys`` (positions).

    A token sees those up to its own and those of its block; with a ``window`` of w, of the earlier ones the last w - 1.
    """
    query, key = (torch.arange(some.start, some.stop, device=device) for some in (queries, keys))
    query = query[:, None]
    seen = key <= query
    for start, stop in blocks:
        if start < queries.stop and queries.start < stop:
            seen = seen | ((query >= start) & (query < stop) & (key >= start) & (key < stop))
    return seen if window is None else seen & (key > query - window)


def reached(blocks: Blocks, pos: Int[np.ndarray, "_"]) -> Int[np.ndarray, "_"]:
    """The first tokens that feel what changes at ``pos``: those where its block begins, or itself outside of blocks."""
    for start, stop in blocks:
        pos = np.where((pos >= start) & (pos < stop), start, pos)
    return pos
