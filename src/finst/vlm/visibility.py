"""Which tokens attend to which: earlier ones, perhaps within a window, and all of the token's own block (a picture)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from finst.vlm.families.base import Blocks


def visible(
    queries: range, keys: range, blocks: Blocks, window: int | None, device: torch.device
) -> Bool[Tensor, "query key"]:
    """Whether the tokens at positions ``queries`` see the tokens at positions ``keys``.

    A token sees itself, earlier tokens and the tokens of its block. With a ``window`` of w tokens it sees, of the
    earlier ones, the last w - 1.
    """
    query, key = (torch.arange(tokens.start, tokens.stop, device=device) for tokens in (queries, keys))
    query = query[:, None]
    seen = key <= query
    for start, stop in blocks:
        if start < queries.stop and queries.start < stop:
            seen = seen | ((query >= start) & (query < stop) & (key >= start) & (key < stop))
    return seen if window is None else seen & (key > query - window)


def reached(blocks: Blocks, pos: Int[np.ndarray, "_"]) -> Int[np.ndarray, "_"]:
    """The first token that a change at ``pos`` can affect: the start of its block, or ``pos`` itself outside blocks."""
    for start, stop in blocks:
        pos = np.where((pos >= start) & (pos < stop), start, pos)
    return pos
