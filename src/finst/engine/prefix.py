"""Attention of many rows that share their contexts' prefixes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from finst.engine.kernel_patching import fusing, kernels
from finst.engine.precision import at_least_float32
from finst.engine.prefix_attention import attention_with_lse
from finst.engine.schedule import Bundle
from finst.vlm.families.base import Blocks
from finst.vlm.visibility import visible

NARROW = 32
"""Longest rows, in tokens, for which a fused kernel is used on GPUs; it loops over the keys of a row."""


def prefix_attention(
    query: Float[Tensor, "head token d_head"],
    key: Float[Tensor, "kv_head token d_head"],
    value: Float[Tensor, "kv_head token d_head"],
    prefix_key: Float[Tensor, "context kv_head prefix d_head"],
    prefix_value: Float[Tensor, "context kv_head prefix d_head"],
    width: int,
    scaling: float,
    blocks: Blocks = (),
    window: int | None = None,
) -> Float[Tensor, "token head d_head"]:
    """Attention of rows of ``width`` tokens after their contexts' prefixes; the same number of rows for each context.

    Attention is causal except within ``blocks``, none of which crosses the end of the prefix, and is limited to a
    ``window`` if one is given (see ``finst.vlm.visibility``). All tokens of a context take its prefix in one call, and
    each row takes itself in another. With o and l the output and the log-sum-exp of the scores of either part, softmax
    over both is sigma(l_prefix - l_own) o_prefix + sigma(l_own - l_prefix) o_own. No key is copied for a row.
    """
    heads, tokens, d_head = query.shape
    group, first = heads // len(key), prefix_key.shape[2]
    here = range(first, first + width)
    before = range(0 if window is None else max(0, first - window + 1), first)
    if not before:
        return _own_attention(query, key, value, visible(here, here, blocks, window, query.device), scaling)[0]
    shared_key, shared_value = (
        x[:, :, None, before.start :].expand(-1, -1, group, -1, -1).flatten(1, 2) for x in (prefix_key, prefix_value)
    )
    seen = visible(here, before, (), window, query.device) if window and window < here.stop else None
    by_context = query.view(heads, len(prefix_key), -1, d_head).transpose(0, 1)
    shared, shared_lse = attention_with_lse(by_context, shared_key, shared_value, scaling, seen)
    if width <= NARROW and not (blocks or window) and fusing(query, key, value):
        return kernels().own_and_shared(query, key, value, shared, shared_lse, width, scaling)
    own, own_lse = _own_attention(query, key, value, visible(here, here, blocks, window, query.device), scaling)
    share = torch.sigmoid(shared_lse.transpose(1, 2).reshape(tokens, heads) - own_lse)
    dtype = at_least_float32(query.dtype)
    parts = own.to(dtype), shared.transpose(1, 2).reshape(tokens, heads, d_head).to(dtype)
    return torch.lerp(*parts, share[..., None]).to(query.dtype)


def _own_attention(
    query: Float[Tensor, "head token d_head"],
    key: Float[Tensor, "kv_head token d_head"],
    value: Float[Tensor, "kv_head token d_head"],
    seen: Bool[Tensor, "width width"],
    scaling: float,
) -> tuple[Float[Tensor, "token head d_head"], Float[Tensor, "token head"]]:
    """Attention of rows to themselves, and the log-sum-exp of its scores.

    The queries of all heads that share a KV head are concatenated, so that its keys are not copied for each head.
    """
    kv_heads, tokens, d_head = key.shape
    width = len(seen)
    grouped = query.view(kv_heads, -1, tokens // width, width, d_head)
    group = grouped.shape[1]
    if width == 1:
        dtype = at_least_float32(query.dtype)
        scores = (grouped[..., 0, :].to(dtype) * key[:, None].to(dtype)).sum(-1) * scaling
        return value.transpose(0, 1).repeat_interleave(group, 1), scores.flatten(0, 1).T
    by_row = grouped.permute(2, 0, 1, 3, 4).flatten(2, 3)
    own_key, own_value = (x.view(kv_heads, -1, width, d_head).transpose(0, 1) for x in (key, value))
    attended, lse = attention_with_lse(by_row, own_key, own_value, scaling, seen)
    unfolded = attended.unflatten(2, (group, width)).permute(0, 3, 1, 2, 4).reshape(tokens, -1, d_head)
    return unfolded, lse.unflatten(2, (group, width)).permute(0, 3, 1, 2).reshape(tokens, -1)


@dataclass(frozen=True, eq=False)
class SharedPrefix:
    """A probe: every row attends to the clean run before its own first token, and to itself from there on."""

    keys: Float[Tensor, "context kv_head pos d_head"]
    values: Float[Tensor, "context kv_head pos d_head"]
    bundles: tuple[Bundle, ...]
    blocks: Blocks
    edit_z: Callable[[Float[Tensor, "token head d_head"]], None] | None
    """Gets z and may change it in place."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """Attention, bundle by bundle, and then ``edit_z``; see ``finst.engine.attention.Probe``."""
        how = kwargs["scaling"], self.blocks, kwargs.get("sliding_window")
        parts = [self._bundle(bundle, query[0], key[0], value[0], *how) for bundle in self.bundles]
        z = parts[0].contiguous() if len(parts) == 1 else torch.cat(parts)
        if self.edit_z is not None:
            self.edit_z(z)
        return z[None]

    def _bundle(
        self,
        bundle: Bundle,
        query: Float[Tensor, "head all_tokens d_head"],
        key: Float[Tensor, "kv_head all_tokens d_head"],
        value: Float[Tensor, "kv_head all_tokens d_head"],
        *how: Any,
    ) -> Float[Tensor, "token head d_head"]:
        here = slice(bundle.start, bundle.stop)
        prefix_key, prefix_value = (x[bundle.contexts, :, : bundle.first] for x in (self.keys, self.values))
        return prefix_attention(
            query[:, here], key[:, here], value[:, here], prefix_key, prefix_value, bundle.width, *how
        )
