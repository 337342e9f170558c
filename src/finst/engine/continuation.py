"""Attention of rows that continue after a shared prefix, and the cache of each row's own keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from finst.engine.precision import at_least_float32
from finst.vlm.families.base import Blocks
from finst.vlm.visibility import visible


def continued_attention(
    query: Float[Tensor, "row head new d_head"],
    key: Float[Tensor, "row kv_head own d_head"],
    value: Float[Tensor, "row kv_head own d_head"],
    prefix_key: Float[Tensor, "kv_head prefix d_head"],
    prefix_value: Float[Tensor, "kv_head prefix d_head"],
    scaling: float,
    blocks: Blocks = (),
    window: int | None = None,
) -> Float[Tensor, "row new head d_head"]:
    """Attention of each row's last ``new`` tokens to a shared prefix and to all tokens of the row's own.

    Attention is causal except within ``blocks``, none of which crosses the end of the prefix, and is limited to a
    ``window`` if one is given (see ``finst.vlm.visibility``). One softmax spans the prefix and the row. The queries of
    all rows take the prefix's keys in one product, without a copy for each row. Scores are in float32 at least.
    """
    rows, heads, new, d_head = query.shape
    kv_heads, own, prefix = *key.shape[1:3], prefix_key.shape[1]
    dtype = at_least_float32(query.dtype)
    folded = (query.to(dtype) * scaling).reshape(rows, kv_heads, heads // kv_heads * new, d_head)

    to_prefix = torch.einsum("rkqd,kpd->rkqp", folded, prefix_key.to(dtype))
    to_own = folded @ key.to(dtype).mT
    everything = range(prefix + own)
    seen = visible(everything[-new:], everything, blocks, window, key.device).repeat(heads // kv_heads, 1)
    weights = torch.cat([to_prefix, to_own], dim=-1).masked_fill_(~seen, float("-inf")).softmax(dim=-1)

    z = torch.einsum("rkqp,kpd->rkqd", weights[..., :prefix], prefix_value.to(dtype))
    z = z + weights[..., prefix:] @ value.to(dtype)
    return z.reshape(rows, heads, new, d_head).transpose(1, 2).to(query.dtype).contiguous()


@dataclass(eq=False)
class Cache:
    """Keys and values of each row's own tokens; every forward pass appends to them."""

    layers: dict[int, tuple[Float[Tensor, "row kv_head own d_head"], Float[Tensor, "row kv_head own d_head"]]] = field(
        default_factory=dict
    )

    def extended(
        self, layer: int, key: Float[Tensor, "row kv_head new d_head"], value: Float[Tensor, "row kv_head new d_head"]
    ) -> tuple[Float[Tensor, "row kv_head own d_head"], Float[Tensor, "row kv_head own d_head"]]:
        """All keys and values of a layer, with the new ones appended."""
        if layer in self.layers:
            old_key, old_value = self.layers[layer]
            key, value = torch.cat([old_key, key], dim=2), torch.cat([old_value, value], dim=2)
        self.layers[layer] = key, value
        return key, value

    def keep(self, rows: Bool[Tensor, "row"]) -> None:
        """Keeps some rows and drops the others."""
        self.layers = {
            layer: (key[rows.to(key.device)], value[rows.to(key.device)]) for layer, (key, value) in self.layers.items()
        }


@dataclass(frozen=True, eq=False)
class Continuation:
    """A probe: every row attends to the shared prefix, to its tokens in ``cache``, and to its new tokens."""

    prefix: Sequence[tuple[Float[Tensor, "kv_head prefix d_head"], Float[Tensor, "kv_head prefix d_head"]]]
    """Keys (after the rotary embedding) and values of each layer."""
    cache: Cache
    blocks: Blocks
    edit_z: Callable[[int, Float[Tensor, "row new head d_head"]], None] | None
    """Gets the layer and its z, and may change z in place."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """Attention and then ``edit_z``; ``mask`` is ignored, ``blocks`` replace it. See ``attention.Probe``."""
        layer: Any = module.layer_idx
        key, value = self.cache.extended(layer, key, value)
        prefix_key, prefix_value = self.prefix[layer]
        how = kwargs["scaling"], self.blocks, kwargs.get("sliding_window")
        z = continued_attention(query, key, value, prefix_key, prefix_value, *how)
        if self.edit_z is not None:
            self.edit_z(layer, z)
        return z
