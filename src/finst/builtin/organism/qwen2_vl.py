"""The first organism's body: Qwen2-VL in plain transformers classes, 7.9M parameters in six layers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from finst.builtin.organism.architecture import D_HEAD, D_MODEL, HEADS, LAYERS, PATCH_PX
from finst.builtin.organism.lessons.training_scenes import CANVASES
from finst.builtin.organism.tokenizer import word_tokenizer
from finst.scenes.object import Grid

KV_HEADS = 4
VISION_LAYERS = 3

ROPE_THETA = 30.0
"""Small, so that the slow rotary frequencies, which Qwen2-VL gives to columns, still turn within a 14-patch image."""

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' -}}"
    "{%- if message.content is string -%}{{- message.content -}}"
    "{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- else -%}{{- part.text -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def build_config(tokenizer: PreTrainedTokenizerFast, layers: int = LAYERS) -> Qwen2VLConfig:
    """The configuration for a vocabulary and so many decoder layers."""
    half = D_HEAD // 2
    spatial = (half - half // 4) // 2
    tokens = tokenizer.get_vocab()
    return Qwen2VLConfig(
        text_config=dict(
            vocab_size=len(tokenizer),
            hidden_size=D_MODEL,
            intermediate_size=3 * D_MODEL,
            num_hidden_layers=layers,
            num_attention_heads=HEADS,
            num_key_value_heads=KV_HEADS,
            max_position_embeddings=2048,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": ROPE_THETA,
                "mrope_section": [half - 2 * spatial, spatial, spatial],
            },
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=dict(
            depth=VISION_LAYERS,
            embed_dim=D_MODEL,
            hidden_size=D_MODEL,
            num_heads=HEADS,
            mlp_ratio=4,
            patch_size=PATCH_PX,
            spatial_merge_size=1,
            temporal_patch_size=1,
        ),
        image_token_id=tokens["<|image_pad|>"],
        video_token_id=tokens["<|video_pad|>"],
        vision_start_token_id=tokens["<|vision_start|>"],
        vision_end_token_id=tokens["<|vision_end|>"],
        tie_word_embeddings=False,
    )


def image_features(
    inner: Any, patches: Float[Tensor, "image patch values"], cos: Tensor, sin: Tensor
) -> Float[Tensor, "image patch d_model"]:
    """Embeddings of every image's patches; patch embedding is one matrix product."""
    visual = inner.visual
    images, count, _ = patches.shape
    hidden = F.linear(patches, visual.patch_embed.proj.weight.flatten(1))
    for block in visual.blocks:
        heads = block.attn.num_heads
        qkv = block.attn.qkv(block.norm1(hidden)).view(images, count, 3, heads, -1)
        q, k, v = qkv.unbind(2)
        q, k = apply_rotary_pos_emb_vision(q, k, cos, sin)
        q, k, v = (t.transpose(1, 2).to(v.dtype) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        hidden = hidden + block.attn.proj(mixed.transpose(1, 2).reshape(images, count, -1))
        hidden = hidden + block.mlp(block.norm2(hidden))
    return visual.merger(hidden.reshape(images * count, -1)).view(images, count, -1)


class Qwen2VL:
    """Patches of every canvas as it is; positions in three axes; two query heads for each head of keys and values."""

    name: str = "qwen2_vl"
    title: str = "Qwen2-VL"
    organism: str = "organism"
    image_placeholder: str = "<|image_pad|>"
    grids: tuple[Grid, ...] = CANVASES
    side: int | None = None
    image_features = staticmethod(image_features)

    def build_tokenizer(self) -> PreTrainedTokenizerFast:
        """ChatML without a system message."""
        return word_tokenizer(
            SPECIAL,
            ("system", "user", "assistant"),
            CHAT_TEMPLATE,
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            unk_token="<|endoftext|>",
        )

    def build_model(self, tokenizer: PreTrainedTokenizerFast, layers: int = LAYERS) -> Qwen2VLForConditionalGeneration:
        """The model with fresh random weights from torch's global generator."""
        return Qwen2VLForConditionalGeneration(build_config(tokenizer, layers))

    def build_image_processor(self) -> Qwen2VLImageProcessorPil:
        """Cuts an image into whole 28-px patches; canvases whose sides are multiples of 28 px keep their size."""
        return Qwen2VLImageProcessorPil(
            patch_size=PATCH_PX,
            merge_size=1,
            temporal_patch_size=1,
            size={"shortest_edge": 56 * 56, "longest_edge": 784 * 784},
        )

    def tower_constants(self, model: Any, rows: int, cols: int) -> tuple[Tensor, ...]:
        """Cosine and sine of the vision tower's rotary angles, [patch, d_head] each."""
        visual = model.model.visual
        ys = torch.arange(rows, device=visual.device).repeat_interleave(cols)
        xs = torch.arange(cols, device=visual.device).repeat(rows)
        steps = torch.arange(max(rows, cols), device=visual.device).float()
        angles = torch.outer(steps, visual.rotary_pos_emb.inv_freq)
        both = torch.cat([angles[ys], angles[xs]], dim=-1)
        doubled = torch.cat([both, both], dim=-1)
        return doubled.cos(), doubled.sin()

    def position_ids(self, model: Any, input_ids: Int[Tensor, "1 pos"], rows: int, cols: int) -> Int[Tensor, "3 1 pos"]:
        """By the model's own ``get_rope_index``."""
        grid = torch.tensor([[1, rows, cols]], device=input_ids.device)
        is_image = (input_ids == model.config.image_token_id).int()
        positions, _ = model.model.get_rope_index(input_ids, mm_token_type_ids=is_image, image_grid_thw=grid)
        return positions
