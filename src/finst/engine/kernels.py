"""The operations between a layer's matrix products as fused kernels, each one pass over memory.

Needs a GPU and triton, which torch installs. A kernel rounds where the torch operations round that it replaces.
``kernel_patching.py`` puts the kernels in place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from jaxtyping import Float
from torch import Tensor

_ANY_NUMBER = ("tokens", "of_context", "width")
"""Arguments whose values do not make triton compile again."""
_BLOCK = 1024
_TOKENS = 16
"""Tokens that one program of ``own_and_shared`` takes, for one head."""


def _jit(function: Callable[..., None]) -> Any:
    """Compiles once for all numbers of tokens. Unwraps the function: tests put a type checker around it."""
    plain = inspect.unwrap(function)
    return triton.jit(
        plain, do_not_specialize=[name for name in _ANY_NUMBER if name in inspect.signature(plain).parameters]
    )


@_jit
def _rms_norm(x, weight, out, stride, cols, eps, block: tl.constexpr) -> None:  # noqa: ANN001
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, block)
    inside = col < cols
    wide = tl.load(x + row * stride + col, mask=inside, other=0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, axis=0) / cols + eps)
    normed = (wide * scale).to(x.dtype.element_ty).to(tl.float32)
    factor = tl.load(weight + col, mask=inside, other=0).to(tl.float32)
    tl.store(out + row * cols + col, (normed * factor).to(out.dtype.element_ty), mask=inside)


def rms_norm(x: Float[Tensor, "*at width"], weight: Float[Tensor, "width"], eps: float) -> Float[Tensor, "*at width"]:
    """x / sqrt(mean(x^2) + eps), rounded to the dtype of ``x``, times ``weight``."""
    rows = x.reshape(-1, x.shape[-1])
    count, cols = rows.shape
    out = torch.empty(count, cols, dtype=x.dtype, device=x.device)
    if count:
        block = triton.next_power_of_2(cols)
        warps = min(16, max(1, block // 512))
        _rms_norm[(count,)](rows, weight, out, rows.stride(0), cols, eps, block, num_warps=warps)
    return out.view(x.shape)


@_jit
def _silu_times(gate, up, out, count, block: tl.constexpr) -> None:  # noqa: ANN001
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < count
    wide = tl.load(gate + at, mask=inside, other=0).to(tl.float32)
    active = (wide / (1 + tl.exp(-wide))).to(out.dtype.element_ty).to(tl.float32)
    other = tl.load(up + at, mask=inside, other=0).to(tl.float32)
    tl.store(out + at, (active * other).to(out.dtype.element_ty), mask=inside)


def silu_times(gate: Float[Tensor, "*at"], up: Float[Tensor, "*at"]) -> Float[Tensor, "*at"]:
    """silu(gate) * up, of contiguous tensors."""
    out = torch.empty_like(gate)
    if out.numel():
        _silu_times[(triton.cdiv(out.numel(), _BLOCK),)](gate, up, out, out.numel(), _BLOCK)
    return out


@_jit
def _quick_gelu(x, out, count, block: tl.constexpr) -> None:  # noqa: ANN001
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < count
    own = tl.load(x + at, mask=inside, other=0).to(tl.float32)
    scaled = (own * 1.702).to(out.dtype.element_ty).to(tl.float32)
    share = (1 / (1 + tl.exp(-scaled))).to(out.dtype.element_ty).to(tl.float32)
    tl.store(out + at, (own * share).to(out.dtype.element_ty), mask=inside)


def quick_gelu(x: Float[Tensor, "*at"]) -> Float[Tensor, "*at"]:
    """x sigmoid(1.702 x), of a contiguous tensor."""
    out = torch.empty_like(x)
    if out.numel():
        _quick_gelu[(triton.cdiv(out.numel(), _BLOCK),)](x, out, out.numel(), _BLOCK)
    return out


@_jit
def _rotary(
    x,  # noqa: ANN001
    cos,  # noqa: ANN001
    sin,  # noqa: ANN001
    out,  # noqa: ANN001
    of_context,  # noqa: ANN001
    of_head,  # noqa: ANN001
    of_token,  # noqa: ANN001
    turn_of_context,  # noqa: ANN001
    tokens,  # noqa: ANN001
    heads,  # noqa: ANN001
    half,  # noqa: ANN001
    block_heads: tl.constexpr,
    block_half: tl.constexpr,
) -> None:
    token, context = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    head = tl.arange(0, block_heads)[:, None]
    col = tl.arange(0, block_half)[None, :]
    turned = col < half
    inside = (head < heads) & turned
    turn = context * turn_of_context + token * 2 * half + col
    kind = cos.dtype.element_ty
    cos_1 = tl.load(cos + turn, mask=turned, other=0).to(tl.float32)
    cos_2 = tl.load(cos + turn + half, mask=turned, other=0).to(tl.float32)
    sin_1 = tl.load(sin + turn, mask=turned, other=0).to(tl.float32)
    sin_2 = tl.load(sin + turn + half, mask=turned, other=0).to(tl.float32)
    at = x + context * of_context + head * of_head + token * of_token + col
    x_1 = tl.load(at, mask=inside, other=0).to(tl.float32)
    x_2 = tl.load(at + half, mask=inside, other=0).to(tl.float32)
    first = (x_1 * cos_1).to(kind).to(tl.float32) - (x_2 * sin_1).to(kind).to(tl.float32)
    second = (x_2 * cos_2).to(kind).to(tl.float32) + (x_1 * sin_2).to(kind).to(tl.float32)
    to = out + ((context * tokens + token) * heads + head) * 2 * half + col
    tl.store(to, first.to(kind).to(out.dtype.element_ty), mask=inside)
    tl.store(to + half, second.to(kind).to(out.dtype.element_ty), mask=inside)


def rotary(
    x: Float[Tensor, "context head pos d_head"],
    cos: Float[Tensor, "context_or_one pos d_head"],
    sin: Float[Tensor, "context_or_one pos d_head"],
) -> Float[Tensor, "context head pos d_head"]:
    """x cos + (-x_2, x_1) sin for the halves x_1 and x_2 of each head, computed in the dtype of ``cos``."""
    contexts, heads, tokens, width = x.shape
    x = x if x.stride(-1) == 1 else x.contiguous()
    cos, sin = cos.contiguous(), sin.contiguous()
    out = torch.empty(contexts, tokens, heads, width, dtype=x.dtype, device=x.device)
    if out.numel():
        half = width // 2
        turn_of_context = 0 if len(cos) == 1 else cos.stride(0)
        blocks = triton.next_power_of_2(heads), triton.next_power_of_2(half)
        _rotary[(tokens, contexts)](
            x, cos, sin, out, *x.stride()[:3], turn_of_context, tokens, heads, half, *blocks, num_warps=4
        )
    return out.transpose(1, 2)


@_jit
def _own_and_shared(
    query,  # noqa: ANN001
    key,  # noqa: ANN001
    value,  # noqa: ANN001
    shared,  # noqa: ANN001
    shared_lse,  # noqa: ANN001
    out,  # noqa: ANN001
    query_of_head,  # noqa: ANN001
    query_of_token,  # noqa: ANN001
    key_of_head,  # noqa: ANN001
    key_of_token,  # noqa: ANN001
    value_of_head,  # noqa: ANN001
    value_of_token,  # noqa: ANN001
    shared_of_context,  # noqa: ANN001
    shared_of_head,  # noqa: ANN001
    shared_of_token,  # noqa: ANN001
    lse_of_context,  # noqa: ANN001
    lse_of_head,  # noqa: ANN001
    lse_of_token,  # noqa: ANN001
    tokens,  # noqa: ANN001
    of_context,  # noqa: ANN001
    width,  # noqa: ANN001
    group,  # noqa: ANN001
    cols,  # noqa: ANN001
    scaling,  # noqa: ANN001
    block_tokens: tl.constexpr,
    block_cols: tl.constexpr,
) -> None:
    head, heads = tl.program_id(1).to(tl.int64), tl.num_programs(1)
    token = tl.program_id(0).to(tl.int64) * block_tokens + tl.arange(0, block_tokens)
    col = tl.arange(0, block_cols)[None, :]
    there = token < tokens
    inside = there[:, None] & (col < cols)
    place = token % width
    begin = (token - place)[:, None]
    own_query = tl.load(query + head * query_of_head + token[:, None] * query_of_token + col, mask=inside, other=0)
    own_query = own_query.to(tl.float32)
    keys, values = key + head // group * key_of_head + col, value + head // group * value_of_head + col
    highest = tl.full([block_tokens], float("-inf"), tl.float32)
    total = tl.zeros([block_tokens], tl.float32)
    attended = tl.zeros([block_tokens, block_cols], tl.float32)
    for other in range(0, width):
        seen = (place >= other)[:, None] & inside
        at = begin + other
        their_key = tl.load(keys + at * key_of_token, mask=seen, other=0).to(tl.float32)
        score = tl.sum(own_query * their_key, axis=1) * scaling
        score = tl.where(place >= other, score, float("-inf"))
        risen = tl.maximum(highest, score)
        weight, faded = tl.exp(score - risen), tl.exp(highest - risen)
        their_value = tl.load(values + at * value_of_token, mask=seen, other=0).to(tl.float32)
        attended = attended * faded[:, None] + weight[:, None] * their_value
        total = total * faded + weight
        highest = risen
    own, lse = attended / total[:, None], highest + tl.log(total)
    context, within = token // of_context, token % of_context
    lse_at = shared_lse + context * lse_of_context + head * lse_of_head + within * lse_of_token
    share = 1 / (1 + tl.exp(lse - tl.load(lse_at, mask=there, other=0)))
    at_shared = context * shared_of_context + head * shared_of_head + within * shared_of_token
    theirs = tl.load(shared + at_shared[:, None] + col, mask=inside, other=0).to(tl.float32)
    merged = own + (theirs - own) * share[:, None]
    tl.store(out + (token[:, None] * heads + head) * cols + col, merged.to(out.dtype.element_ty), mask=inside)


def own_and_shared(
    query: Float[Tensor, "head token d_head"],
    key: Float[Tensor, "kv_head token d_head"],
    value: Float[Tensor, "kv_head token d_head"],
    shared: Float[Tensor, "context head of_context d_head"],
    shared_lse: Float[Tensor, "context head of_context"],
    width: int,
    scaling: float,
) -> Float[Tensor, "token head d_head"]:
    """Causal attention of rows of ``width`` tokens to themselves, merged with their attention to a shared prefix.

    ``shared`` and ``shared_lse`` are the output and the log-sum-exp of the attention to the prefix. Everything is
    computed in float32; the result has the dtype of ``query``.
    """
    heads, tokens, cols = query.shape
    query, key, value, shared = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value, shared))
    out = torch.empty(tokens, heads, cols, dtype=query.dtype, device=query.device)
    if out.numel():
        strides = (*query.stride()[:2], *key.stride()[:2], *value.stride()[:2], *shared.stride()[:3])
        _own_and_shared[triton.cdiv(tokens, _TOKENS), heads](
            query, key, value, shared, shared_lse, out, *strides, *shared_lse.stride(),
            tokens, shared.shape[2], width, heads // len(key), cols, scaling, _TOKENS, triton.next_power_of_2(cols),
        )  # fmt: skip
    return out
