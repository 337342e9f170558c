"""Merged attention against one softmax over everything that a token sees."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from finst.engine.fused import attention_with_lse, plain_attention_with_lse
from finst.engine.prefix import prefix_attention

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


def one_softmax(query: Tensor, key: Tensor, value: Tensor, prefix_key: Tensor, prefix_value: Tensor, width: int):
    """Row by row and head by head, with all keys that a token sees side by side."""
    heads, tokens, _ = query.shape
    group = heads // len(key)
    z = torch.empty_like(query.transpose(0, 1))
    for token in range(tokens):
        start = token - token % width
        context = token * len(prefix_key) // tokens
        for head in range(heads):
            keys = torch.cat([prefix_key[context, head // group], key[head // group, start : token + 1]])
            values = torch.cat([prefix_value[context, head // group], value[head // group, start : token + 1]])
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
@pytest.mark.parametrize("causal_width", [None, 11])
@pytest.mark.parametrize("d_head", [8, 12, 64])
def test_fused_kernels_are_plain_attention(
    d_head: int, causal_width: int | None, dtype: torch.dtype, device: str
) -> None:
    query = drawn(2, 3, 33, d_head, dtype=dtype, device=device, seed=0)
    key, value = (drawn(2, 3, causal_width or 40, d_head, dtype=dtype, device=device, seed=s) for s in (1, 2))
    ours, our_lse = attention_with_lse(query, key, value, SCALING, causal_width)
    wide = query.double(), key.double(), value.double()
    theirs, their_lse = plain_attention_with_lse(*wide, SCALING, causal_width)
    assert our_lse.dtype == torch.promote_types(dtype, torch.float32)
    assert (ours.double() - theirs).abs().max() < TOLERANCE[dtype]
    assert (our_lse.double() - their_lse).abs().max() < max(TOLERANCE[dtype], 1e-5) * 5
