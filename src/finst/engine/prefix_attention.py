"""Attention kernels that also return the log-sum-exp of the scores, with which parts of a softmax are merged."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from finst.engine.precision import at_least_float32


def attention_with_lse(
    query: Float[Tensor, "batch head query d_head"],
    key: Float[Tensor, "batch head key d_head"],
    value: Float[Tensor, "batch head key d_head"],
    scaling: float,
    seen: Bool[Tensor, "width key"] | None = None,
) -> tuple[Float[Tensor, "batch head query d_head"], Float[Tensor, "batch head query"]]:
    """Softmax attention and log(sum(exp(scores))), by torch's fused kernel for the device and dtype.

    Query i sees the keys of row i mod width of ``seen``, so that the queries of several heads can be concatenated. A
    query that sees no key gets a very negative log-sum-exp and an arbitrary finite output.

    Scores and the log-sum-exp are in float32 at least. torch's float32 kernel for CUDA multiplies in three TF32
    products, which keeps float32's precision.
    """
    ops = torch.ops.aten
    half, width = query.dtype in (torch.bfloat16, torch.float16), query.shape[-1]
    if query.device.type == "cpu" and query.dtype != torch.float16:
        bias = _bias(query, key, seen)
        kernel = ops._scaled_dot_product_flash_attention_for_cpu
        attended, lse = kernel(query, key, value, 0.0, False, attn_mask=bias, scale=scaling)
        return attended, lse
    if query.is_cuda and half and width % 8 == 0 and seen is None:
        kernel = ops._scaled_dot_product_flash_attention
        attended, lse, *_ = kernel(query, key, value, 0.0, False, False, scale=scaling)
        return attended, lse
    if query.is_cuda and query.dtype != torch.float64 and width % (8 if half else 4) == 0:
        bias = _bias(query, key, seen)
        kernel = ops._scaled_dot_product_efficient_attention
        attended, lse, *_ = kernel(query, key, value, bias, True, 0.0, False, scale=scaling)
        return attended, lse[..., : query.shape[2]]  # the kernel pads its rows
    return plain_attention_with_lse(query, key, value, scaling, seen)


def plain_attention_with_lse(
    query: Float[Tensor, "batch head query d_head"],
    key: Float[Tensor, "batch head key d_head"],
    value: Float[Tensor, "batch head key d_head"],
    scaling: float,
    seen: Bool[Tensor, "width key"] | None = None,
) -> tuple[Float[Tensor, "batch head query d_head"], Float[Tensor, "batch head query"]]:
    """As ``attention_with_lse``, by two matrix products: its reference, and the fallback without a fused kernel."""
    dtype = at_least_float32(query.dtype)
    scores = (query.to(dtype) * scaling) @ key.to(dtype).mT
    bias = _bias(query, key, seen)
    if bias is not None:
        scores = scores + bias
    lse = scores.logsumexp(dim=-1)
    return ((scores - lse[..., None]).exp_() @ value.to(dtype)).to(query.dtype), lse


def _bias(
    query: Float[Tensor, "batch head query d_head"],
    key: Float[Tensor, "batch head key d_head"],
    seen: Bool[Tensor, "width key"] | None,
) -> Float[Tensor, "batch head query key"] | None:
    """Very negative where a query does not see a key, else 0; rows are padded in memory as CUDA's kernel needs."""
    if seen is None:
        return None
    (width, keys), queries = seen.shape, query.shape[2]
    bias = torch.zeros(width, -(-keys // 16) * 16, dtype=query.dtype, device=query.device)
    bias[:, :keys].masked_fill_(~seen, torch.finfo(query.dtype).min / 4)
    return bias.repeat(queries // width, 1)[:, :keys].expand(*query.shape[:2], queries, keys)
