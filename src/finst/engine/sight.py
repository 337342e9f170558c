"""Who sees whom: earlier tokens, or those in a window of them, and all of one's own block (the tokens of a picture)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

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


def as_called(
    module: nn.Module,
    mask: Tensor | None,
    length: int,
    blocks: Blocks,
    *,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> bool:
    """Whether a call of attention lets tokens see what ``visible`` says, read as transformers' ``sdpa`` function does.

    ``mask`` holds what each query may see of each key: booleans, or numbers to be added to scores, hugely negative
    where nothing is to be seen. Without a mask, causality is the call's or else the module's setting.
    """
    if mask is None:
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        return bool(causal) and not blocks and (sliding_window is None or length <= sliding_window)
    seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    expected = visible(range(length), range(length), blocks, sliding_window, mask.device)
    return bool((seen == expected).all())
