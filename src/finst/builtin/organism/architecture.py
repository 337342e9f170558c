"""The organism's body: Qwen2-VL in plain transformers classes, about 11M parameters."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

PATCH_PX = 28
"""One image token sees 28x28 px, as in Qwen2-VL (there as 2x2 merged patches of 14 px)."""

LAYERS, HEADS, KV_HEADS, D_HEAD = 10, 8, 4, 32
D_MODEL = HEADS * D_HEAD
VISION_LAYERS = 3

ROPE_THETA = 30.0
"""Small, so that the slow rotary frequencies, which Qwen2-VL gives to columns, still turn within a 14-patch image."""


def _token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    return tokenizer.get_vocab()[token]


def build_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2VLConfig:
    """The configuration for a vocabulary."""
    half = D_HEAD // 2
    spatial = (half - half // 4) // 2
    return Qwen2VLConfig(
        text_config=dict(
            vocab_size=len(tokenizer),
            hidden_size=D_MODEL,
            intermediate_size=3 * D_MODEL,
            num_hidden_layers=LAYERS,
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
        image_token_id=_token_id(tokenizer, "<|image_pad|>"),
        video_token_id=_token_id(tokenizer, "<|video_pad|>"),
        vision_start_token_id=_token_id(tokenizer, "<|vision_start|>"),
        vision_end_token_id=_token_id(tokenizer, "<|vision_end|>"),
        tie_word_embeddings=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2VLForConditionalGeneration:
    """The model with fresh random weights from torch's global generator."""
    return Qwen2VLForConditionalGeneration(build_config(tokenizer))


def build_image_processor() -> Qwen2VLImageProcessorPil:
    """Cuts an image into whole 28-px patches; canvases whose sides are multiples of 28 px keep their size."""
    return Qwen2VLImageProcessorPil(
        patch_size=PATCH_PX,
        merge_size=1,
        temporal_patch_size=1,
        size={"shortest_edge": 56 * 56, "longest_edge": 784 * 784},
    )
