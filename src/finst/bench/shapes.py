"""The true shapes of published models, written out: sizes from their public configurations, without their weights."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from finst.errors import choice

ROTARY = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
"""Of all Qwen-VL shapes here, whose heads have 128 entries."""


@dataclass(frozen=True)
class Shape:
    """An architecture and its sizes, in the words of Hugging Face's configurations."""

    name: str
    model_type: str
    """Which architecture; finst must have a family that reads it."""
    text: Mapping[str, Any] = field(repr=False)
    vision: Mapping[str, Any] = field(repr=False)
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What else the configuration says."""

    def config(self) -> PreTrainedConfig:
        """A new Hugging Face configuration of this shape."""
        parts = {"text_config": dict(self.text), "vision_config": dict(self.vision), **self.rest}
        return AutoConfig.for_model(self.model_type, **deepcopy(parts))


def _decoder(layers: int, width: int, heads: int, kv_heads: int, mlp: int, vocab: int) -> dict[str, int]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": mlp,
        "vocab_size": vocab,
    }


def _qwen2_vl(name: str, decoder: dict[str, int], *, tied: bool = False) -> Shape:
    """Vision: 32 layers of 1280, patches of 14 px and two frames, merged in squares of four."""
    text = {**decoder, "rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "rope_parameters": ROTARY}
    vision = {
        "depth": 32,
        "embed_dim": 1280,
        "num_heads": 16,
        "mlp_ratio": 4,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "hidden_size": decoder["hidden_size"],
    }
    return Shape(name, "qwen2_vl", text, vision, {"tie_word_embeddings": tied})


def _qwen2_5_vl(name: str, decoder: dict[str, int], *, vision_mlp: int = 3420, tied: bool = False) -> Shape:
    """Vision as in Qwen2-VL, but with gated MLPs and, in all layers but four, attention within windows of 112 px."""
    text = {**decoder, "rms_norm_eps": 1e-6, "max_position_embeddings": 128000, "rope_parameters": ROTARY}
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": vision_mlp,
        "num_heads": 16,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "tokens_per_second": 2,
        "out_hidden_size": decoder["hidden_size"],
    }
    return Shape(name, "qwen2_5_vl", text, vision, {"tie_word_embeddings": tied})


def _llava(name: str, decoder: dict[str, int]) -> Shape:
    """Vision: CLIP ViT-L/14 at 336 px."""
    text = {**decoder, "model_type": "llama", "rms_norm_eps": 1e-5, "max_position_embeddings": 4096}
    vision = {
        "model_type": "clip_vision_model",
        "num_hidden_layers": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 336,
        "projection_dim": 768,
    }
    return Shape(name, "llava", text, vision)


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        shape.name: shape
        for shape in (
            _qwen2_vl("qwen2-vl-2b", _decoder(28, 1536, 12, 2, 8960, 151936), tied=True),
            _qwen2_vl("qwen2-vl-7b", _decoder(28, 3584, 28, 4, 18944, 152064)),
            _qwen2_5_vl("qwen2.5-vl-3b", _decoder(36, 2048, 16, 2, 11008, 151936), tied=True),
            _qwen2_5_vl("qwen2.5-vl-7b", _decoder(28, 3584, 28, 4, 18944, 152064)),
            _qwen2_5_vl("qwen2.5-vl-32b", _decoder(64, 5120, 40, 8, 27648, 152064), vision_mlp=3456),
            _llava("llava-1.5-7b", _decoder(32, 4096, 32, 32, 11008, 32064)),
            _llava("llava-1.5-13b", _decoder(40, 5120, 40, 40, 13824, 32064)),
        )
    }
)
"""By the names that ``--shape`` takes."""


def shape_named(name: str) -> Shape:
    """Raises FinstError for a name that is not among ``SHAPES``."""
    if name not in SHAPES:
        raise choice("shape", name, SHAPES)
    return SHAPES[name]
