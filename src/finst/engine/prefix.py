"""Attention of many rows that share one prefix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from finst.engine.precision import at_least_float32
from finst.engine.schedule import Segment


def prefix_attention(
    query: Float[Tensor, "head token d_head"],
    key: Float[Tensor, "kv_head token d_head"],
    value: Float[Tensor, "kv_head token d_head"],
    prefix_key: Float[Tensor, "kv_head prefix d_head"],
    prefix_value: Float[Tensor, "kv_head prefix d_head"],
    width: int,
    scaling: float,
) -> Float[Tensor, "token head d_head"]:
    """Causal attention of rows of ``width`` tokens, each after the same prefix, with one softmax over both.

    Folding the rows (and the query heads of a KV head) into the query axis lets all of them share one prefix that is
    never copied. Scores are computed in float32 at least.
    """
    kv_heads, tokens, d_head = key.shape
    group, count, prefix = len(query) // kv_heads, tokens // width, prefix_key.shape[1]
    dtype = at_least_float32(query.dtype)
    folded = (query.to(dtype) * scaling).view(kv_heads, group, count, width, d_head).transpose(1, 2)
    folded = folded.reshape(kv_heads, count * group * width, d_head)
    own_key, own_value = (x.to(dtype).reshape(kv_heads * count, width, d_head) for x in (key, value))

    to_prefix = folded @ prefix_key.to(dtype).mT
    to_own = folded.reshape(kv_heads * count, group * width, d_head) @ own_key.mT
    if width > 1:
        future = torch.ones(width, width, dtype=torch.bool, device=key.device).triu_(1).repeat(group, 1)
        to_own.masked_fill_(future, float("-inf"))
    weights = torch.cat([to_prefix, to_own.view(kv_heads, count * group * width, width)], dim=-1).softmax(dim=-1)

    own = weights[..., prefix:].reshape(kv_heads * count, group * width, width) @ own_value
    z = weights[..., :prefix] @ prefix_value.to(dtype) + own.view(kv_heads, count * group * width, d_head)
    z = z.view(kv_heads, count, group, width, d_head).permute(1, 3, 0, 2, 4)
    return z.reshape(tokens, kv_heads * group, d_head).to(query.dtype)


@dataclass(frozen=True, eq=False)
class SharedPrefix:
    """A probe: every row attends to the clean run before its own first token and to itself from there on."""

    keys: Float[Tensor, "kv_head pos d_head"]
    values: Float[Tensor, "kv_head pos d_head"]
    segments: tuple[Segment, ...]
    visit: Callable[[Float[Tensor, "token head d_head"]], None] | None
    """Gets z and may change it in place."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """Attention, segment by segment, and then ``visit``; see ``finst.engine.attention.Probe``."""
        z = torch.cat(
            [self._segment(segment, query[0], key[0], value[0], kwargs["scaling"]) for segment in self.segments]
        )
        if self.visit is not None:
            self.visit(z)
        return z[None]

    def _segment(
        self,
        segment: Segment,
        query: Float[Tensor, "head all_tokens d_head"],
        key: Float[Tensor, "kv_head all_tokens d_head"],
        value: Float[Tensor, "kv_head all_tokens d_head"],
        scaling: float,
    ) -> Float[Tensor, "token head d_head"]:
        here = slice(segment.start, segment.stop)
        prefix = slice(0, segment.first)
        return prefix_attention(
            query[:, here],
            key[:, here],
            value[:, here],
            self.keys[:, prefix],
            self.values[:, prefix],
            segment.width,
            scaling,
        )
