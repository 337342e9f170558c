"""The organism on a whole batch of equal canvases at once: the fast twin of the model's own ``forward``.

The model's vision tower walks through the images of a batch one by one; here they go side by side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from finst.builtin.organism.architecture import PATCH_PX
from finst.builtin.organism.batches import TEXT_START, Batch


def vision_rotary(visual: nn.Module, rows: int, cols: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the vision tower's rotary angles for one image, [patch, d_head] each."""
    ys = torch.arange(rows, device=visual.device).repeat_interleave(cols)
    xs = torch.arange(cols, device=visual.device).repeat(rows)
    angles = torch.outer(torch.arange(max(rows, cols), device=visual.device).float(), visual.rotary_pos_emb.inv_freq)
    both = torch.cat([angles[ys], angles[xs]], dim=-1)
    doubled = torch.cat([both, both], dim=-1)
    return doubled.cos(), doubled.sin()


def image_features(
    visual: nn.Module, patches: Float[Tensor, "image patch values"], rotary: tuple[Tensor, Tensor]
) -> Float[Tensor, "image patch d_model"]:
    """Embeddings of every image's patches."""
    images, count, _ = patches.shape
    hidden = visual.patch_embed(patches.reshape(images * count, -1)).view(images, count, -1)
    for block in visual.blocks:
        heads = block.attn.num_heads
        qkv = block.attn.qkv(block.norm1(hidden)).view(images, count, 3, heads, -1)
        q, k, v = qkv.unbind(2)
        q, k = apply_rotary_pos_emb_vision(q, k, *rotary)
        mixed = F.scaled_dot_product_attention(*(t.transpose(1, 2).to(v.dtype) for t in (q, k, v)))
        hidden = hidden + block.attn.proj(mixed.transpose(1, 2).reshape(images, count, -1))
        hidden = hidden + block.mlp(block.norm2(hidden))
    return visual.merger(hidden.reshape(images * count, -1)).view(images, count, -1)


def positions(model: Qwen2VLForConditionalGeneration, batch: Batch) -> Int[Tensor, "3 1 pos"]:
    """Rotary positions, the same for every lesson of a batch because all images start at the same token."""
    ids = batch.input_ids[:1].to(model.device)
    grid = torch.tensor([[1, batch.height // PATCH_PX, batch.width // PATCH_PX]], device=model.device)
    is_image = (ids == model.config.image_token_id).int()
    found, _ = model.model.get_rope_index(ids, mm_token_type_ids=is_image, image_grid_thw=grid)
    return found


class Forward:
    """Last hidden states of batches, with what depends on the canvas alone computed once."""

    def __init__(self, model: Qwen2VLForConditionalGeneration, *, compiled: bool = False) -> None:
        self.model = model
        self.image_features = torch.compile(image_features, dynamic=False) if compiled else image_features
        self._of_canvas: dict[tuple[int, int, int], tuple[Tensor, tuple[Tensor, Tensor]]] = {}
        if compiled:
            for layer in model.model.language_model.layers:
                layer.compile(dynamic=False)

    def _canvas(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        key = (batch.height, batch.width, batch.input_ids.shape[1])
        if key not in self._of_canvas:
            rotary = vision_rotary(self.model.model.visual, batch.height // PATCH_PX, batch.width // PATCH_PX)
            self._of_canvas[key] = positions(self.model, batch), rotary
        return self._of_canvas[key]

    def __call__(
        self, batch: Batch, patches: Float[Tensor, "lesson patch values"]
    ) -> Float[Tensor, "lesson pos d_model"]:
        """Final-norm hidden states of every token; padding on the right is harmless to what comes before it."""
        position_ids, rotary = self._canvas(batch)
        text = self.model.model.language_model
        words = text.embed_tokens(batch.input_ids.to(self.model.device))
        seen = self.image_features(self.model.model.visual, patches, rotary).to(words.dtype)
        embedded = torch.cat([words[:, :TEXT_START], seen, words[:, TEXT_START + seen.shape[1] :]], dim=1)
        return text(
            inputs_embeds=embedded, position_ids=position_ids.expand(-1, len(words), -1), use_cache=False
        ).last_hidden_state
