"""Attention kernels that also return the log-sum-exp of the scores, by which separate parts of a softmax are merged."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from finst.engine.precision import at_least_float32


def attention_with_lse(
    query: Float[Tensor, "batch head query d_head"],
    key: Float[Tensor, "batch head key d_head"],
    value: Float[Tensor, "batch head key d_head"],
    scaling: float,
    causal: bool = False,
) -> tuple[Float[Tensor, "batch head query d_head"], Float[Tensor, "batch head query"]]:
    """Softmax attention and log(sum(exp(scores))), by torch's fused kernel for the device and dtype.

    ``causal``: query i sees keys 0..i. Scores and the log-sum-exp are in float32 at least. torch's float32 kernel for
    CUDA multiplies in three TF32 products, which keeps float32's precision.
    """
    ops = torch.ops.aten
    if query.device.type == "cpu" and query.dtype != torch.float16:
        attended, lse = ops._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal, scale=scaling)
        return attended, lse
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and query.shape[-1] % 8 == 0:
        attended, lse, *_ = ops._scaled_dot_product_flash_attention(
            query, key, value, 0.0, causal, False, scale=scaling
        )
        return attended, lse
    if query.is_cuda and query.dtype == torch.float32 and query.shape[-1] % 4 == 0:
        attended, lse, *_ = ops._scaled_dot_product_efficient_attention(
            query, key, value, None, True, 0.0, causal, scale=scaling
        )
        return attended, lse[..., : query.shape[2]]  # the kernel pads its rows
    return plain_attention_with_lse(query, key, value, scaling, causal)


def plain_attention_with_lse(
    query: Float[Tensor, "batch head query d_head"],
    key: Float[Tensor, "batch head key d_head"],
    value: Float[Tensor, "batch head key d_head"],
    scaling: float,
    causal: bool = False,
) -> tuple[Float[Tensor, "batch head query d_head"], Float[Tensor, "batch head query"]]:
    """As ``attention_with_lse``, by two matrix products: where no fused kernel serves, and its slow twin."""
    dtype = at_least_float32(query.dtype)
    scores = (query.to(dtype) * scaling) @ key.to(dtype).mT
    if causal:
        scores.masked_fill_(torch.ones_like(scores, dtype=torch.bool).triu_(1), float("-inf"))
    lse = scores.logsumexp(dim=-1)
    return ((scores - lse[..., None]).exp_() @ value.to(dtype)).to(query.dtype), lse
