"""Merged attention compared with one softmax over everything that a token sees."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from finst.engine.continuation import continued_attention
from finst.engine.prefix import prefix_attention
from finst.engine.prefix_attention import attention_with_lse, plain_attention_with_lse
from finst.vlm.families.base import Blocks
from finst.vlm.visibility import visible

SCALING = 0.3
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.05}  # a few roundings of values up to 6
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def drawn(*size: int, dtype: torch.dtype, device: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (1.5 * torch.randn(*size, generator=generator, dtype=torch.float64)).to(device, dtype)


def sees(query: int, key: int, blocks: Blocks, window: int | None) -> bool:
    same = any(start <= query < stop and start <= key < stop for start, stop in blocks)
    return (key <= query or same) and (window is None or query - key < window)


def one_softmax(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix_key: Tensor,
    prefix_value: Tensor,
    width: int,
    blocks: Blocks = (),
    window: int | None = None,
):
    """Row by row and head by head, with all keys that a token sees concatenated."""
    heads, tokens, _ = query.shape
    group = heads // len(key)
    z = torch.empty_like(query.transpose(0, 1))
    for token in range(tokens):
        start = token - token % width
        context = token * len(prefix_key) // tokens
        first = prefix_key.shape[2]
        seen = [pos for pos in range(first + width) if sees(first + token - start, pos, blocks, window)]
        for head in range(heads):
            keys = torch.cat([prefix_key[context, head // group], key[head // group, start : start + width]])[seen]
            values = torch.cat([prefix_value[context, head // group], value[head // group, start : start + width]])[
                seen
            ]
            z[token, head] = (keys @ query[head, token] * SCALING).softmax(0) @ values
    return z


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("prefix", [0, 1, 37])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
def test_merging_is_one_softmax(
    heads: int, kv_heads: int, prefix: int, width: int, dtype: torch.dtype, device: str
) -> None:
    contexts, rows, d_head = 2, 5, 16
    tokens = contexts * rows * width
    query = drawn(heads, tokens, d_head, dtype=dtype, device=device, seed=0)
    key, value = (drawn(kv_heads, tokens, d_head, dtype=dtype, device=device, seed=s) for s in (1, 2))
    first, second = (drawn(contexts, kv_heads, prefix, d_head, dtype=dtype, device=device, seed=s) for s in (3, 4))
    ours = prefix_attention(query, key, value, first, second, width, SCALING)
    theirs = one_softmax(query.double(), key.double(), value.double(), first.double(), second.double(), width)
    assert ours.dtype == dtype
    assert (ours.double() - theirs).abs().max() < TOLERANCE[dtype]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("window", [None, 1, 2, 6, 9, 30, 46])
@pytest.mark.parametrize("blocks", [(), ((37, 42),), ((3, 9), (38, 40), (43, 46))])
def test_windows_and_blocks_are_one_softmax_too(
    blocks: Blocks, window: int | None, dtype: torch.dtype, device: str
) -> None:
    """In walks and in generation: rows of 9 tokens after 37 shared tokens, with windows that end in either part."""
    query, key = (drawn(heads, 27, 16, dtype=dtype, device=device, seed=heads) for heads in (4, 2))
    value = drawn(2, 27, 16, dtype=dtype, device=device, seed=5)
    prefix = [drawn(1, 2, 37, 16, dtype=dtype, device=device, seed=seed) for seed in (6, 7)]
    ours = prefix_attention(query, key, value, prefix[0], prefix[1], 9, SCALING, blocks, window)
    wide = [x.double() for x in (query, key, value, *prefix)]
    theirs = one_softmax(*wide, width=9, blocks=blocks, window=window)
    assert (ours.double() - theirs).abs().max() < TOLERANCE[dtype]
    q, k, v = (x.unflatten(1, (3, 9)).transpose(0, 1) for x in (query, key, value))
    continued = continued_attention(q, k, v, prefix[0][0], prefix[1][0], SCALING, blocks, window)
    assert (continued.flatten(0, 1).double() - theirs).abs().max() < TOLERANCE[dtype]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("window", [None, 11, 4])
@pytest.mark.parametrize("d_head", [8, 12, 64])
def test_fused_kernels_are_plain_attention(d_head: int, window: int | None, dtype: torch.dtype, device: str) -> None:
    query = drawn(2, 3, 33, d_head, dtype=dtype, device=device, seed=0)
    seen = None if window is None else visible(range(11), range(11), (), window, query.device)
    key, value = (drawn(2, 3, (window and 11) or 40, d_head, dtype=dtype, device=device, seed=s) for s in (1, 2))
    ours, our_lse = attention_with_lse(query, key, value, SCALING, seen)
    wide = query.double(), key.double(), value.double()
    theirs, their_lse = plain_attention_with_lse(*wide, SCALING, seen)
    assert our_lse.dtype == torch.promote_types(dtype, torch.float32)
    assert (ours.double() - theirs).abs().max() < TOLERANCE[dtype]
    assert (our_lse.double() - their_lse).abs().max() < max(TOLERANCE[dtype], 1e-5) * 5
