"""A shape small enough for tests."""

from __future__ import annotations

from finst.vlm.published import Shape

VOCABULARY = 64

TINY = Shape(
    "tiny",
    "qwen2_vl",
    text={
        "num_hidden_layers": 3,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "vocab_size": VOCABULARY,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
        "bos_token_id": None,
        "eos_token_id": None,
    },
    vision={
        "depth": 2,
        "embed_dim": 16,
        "num_heads": 2,
        "mlp_ratio": 2,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "hidden_size": 32,
    },
    rest={"image_token_id": 60, "video_token_id": 61, "vision_start_token_id": 62, "vision_end_token_id": 63},
)
"""The architecture of Qwen2-VL: 28-px image tokens, two query heads a KV head."""
