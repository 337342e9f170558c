"""The organism on a whole batch of equal canvases at once: the fast twin of the model's own ``forward``.

The model's vision tower walks through the images of a batch one by one; here they go side by side, patch embedding is
one matrix product, and the decoder's layers run as one function that can be compiled as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from finst.builtin.organism.architecture import PATCH_PX
from finst.builtin.organism.batches import TEXT_START, Batch

Rotary = tuple[Tensor, Tensor]
"""Cosine and sine of rotary angles."""


def vision_rotary(visual: Any, rows: int, cols: int) -> Rotary:
    """The vision tower's rotary angles for one image of ``rows`` x ``cols`` patches, [patch, d_head] each."""
    ys = torch.arange(rows, device=visual.device).repeat_interleave(cols)
    xs = torch.arange(cols, device=visual.device).repeat(rows)
    angles = torch.outer(torch.arange(max(rows, cols), device=visual.device).float(), visual.rotary_pos_emb.inv_freq)
    both = torch.cat([angles[ys], angles[xs]], dim=-1)
    doubled = torch.cat([both, both], dim=-1)
    return doubled.cos(), doubled.sin()


def image_features(
    visual: Any, patches: Float[Tensor, "image patch values"], rotary: Rotary
) -> Float[Tensor, "image patch d_model"]:
    """Embeddings of every image's patches, from the modules of a Qwen2-VL vision tower."""
    images, count, _ = patches.shape
    hidden = F.linear(patches, visual.patch_embed.proj.weight.flatten(1))
    for block in visual.blocks:
        heads = block.attn.num_heads
        qkv = block.attn.qkv(block.norm1(hidden)).view(images, count, 3, heads, -1)
        q, k, v = qkv.unbind(2)
        q, k = apply_rotary_pos_emb_vision(q, k, *rotary)
        q, k, v = (t.transpose(1, 2).to(v.dtype) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        hidden = hidden + block.attn.proj(mixed.transpose(1, 2).reshape(images, count, -1))
        hidden = hidden + block.mlp(block.norm2(hidden))
    return visual.merger(hidden.reshape(images * count, -1)).view(images, count, -1)


def decode(
    decoder: Any, hidden: Float[Tensor, "lesson pos d_model"], rotary: Rotary
) -> Float[Tensor, "lesson pos d_model"]:
    """All decoder layers and the final norm; without a mask the layers' attention is causal."""
    for layer in decoder.layers:
        hidden = layer(hidden, attention_mask=None, position_embeddings=rotary)
    return decoder.norm(hidden)


def positions(model: Qwen2VLForConditionalGeneration, batch: Batch) -> Int[Tensor, "3 1 pos"]:
    """Rotary positions, the same for every lesson of a batch because all images start at the same token."""
    ids = batch.input_ids[:1].to(model.device)
    grid = torch.tensor([[1, batch.height // PATCH_PX, batch.width // PATCH_PX]], device=model.device)
    is_image = (ids == model.config.image_token_id).int()
    inner: Any = model.model
    found, _ = inner.get_rope_index(ids, mm_token_type_ids=is_image, image_grid_thw=grid)
    return found


@dataclass(frozen=True, eq=False)
class _Canvas:
    """What depends on the canvas and the length alone."""

    vision: Rotary
    text: Rotary


class Forward:
    """Last hidden states of batches; what depends on the canvas alone is computed once."""

    def __init__(self, model: Qwen2VLForConditionalGeneration, *, compiled: bool = False) -> None:
        self.model = model
        self._image_features = torch.compile(image_features, dynamic=False) if compiled else image_features
        self._decode = torch.compile(decode, dynamic=False) if compiled else decode
        self._canvases: dict[tuple[int, int, int], _Canvas] = {}

    def _canvas(self, batch: Batch) -> _Canvas:
        key = (batch.height, batch.width, batch.input_ids.shape[1])
        if key not in self._canvases:
            inner: Any = self.model.model
            vision = vision_rotary(inner.visual, batch.height // PATCH_PX, batch.width // PATCH_PX)
            anything = torch.zeros(1, device=self.model.device)
            cos, sin = inner.language_model.rotary_emb(anything, positions(self.model, batch))
            self._canvases[key] = _Canvas(vision, (cos, sin))
        return self._canvases[key]

    def __call__(
        self, batch: Batch, patches: Float[Tensor, "lesson patch values"]
    ) -> Float[Tensor, "lesson pos d_model"]:
        """Final-norm hidden states of every token; padding on the right is harmless to what comes before it."""
        canvas, inner = self._canvas(batch), self.model.model
        decoder: Any = inner.language_model
        words = decoder.embed_tokens(batch.input_ids.to(self.model.device))
        seen = self._image_features(inner.visual, patches, canvas.vision).to(words.dtype)
        embedded = torch.cat([words[:, :TEXT_START], seen, words[:, TEXT_START + seen.shape[1] :]], dim=1)
        return self._decode(decoder, embedded, canvas.text)
