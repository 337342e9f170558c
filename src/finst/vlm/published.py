"""Published models: their hub ids and shapes, copied from their public configurations.

Shapes have no weights. They stand for checkpoints that are unavailable. What follows from them (parameters, image
tokens, memory) is computed, not written here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig

from finst.errors import choice
from finst.vlm.families import family_of
from finst.vlm.open import Reader, quiet

ROTARY = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
"""Rotary embedding of all Qwen2-VL and Qwen2.5-VL shapes here, whose heads have 128 entries."""

QWEN2_PIXELS = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}
"""The least and the most px of a picture in Qwen2-VL and Qwen2.5-VL."""

CLIP_PIXELS = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 336},
    "crop_size": {"height": 336, "width": 336},
}
"""LLaVA-1.5's image processor, which takes the middle square of a picture."""


@dataclass(frozen=True)
class Shape:
    """An architecture and its sizes, with the keys of Hugging Face's configurations."""

    name: str
    model_type: str
    """The architecture; finst must have a family that reads it."""
    text: Mapping[str, Any] = field(repr=False)
    vision: Mapping[str, Any] = field(repr=False)
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The other entries of the configuration."""
    hub: tuple[str, ...] = ()
    """Hugging Face hub ids of checkpoints of this shape, the recommended one first."""
    pixels: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Entries of ``preprocessor_config.json`` that differ from the defaults of the image processor's class."""

    def config(self) -> PreTrainedConfig:
        """A new Hugging Face configuration of this shape."""
        parts = {"text_config": dict(self.text), "vision_config": dict(self.vision), **self.rest}
        return AutoConfig.for_model(self.model_type, **deepcopy(parts))

    def parameters(self) -> int:
        """Number of weights, counted in transformers' own model of this shape, built without memory."""
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(self.config())
        return sum(parameter.numel() for parameter in model.parameters())

    def reader(self, tokenizer: Any = None) -> Reader:
        """The reader of a checkpoint with this shape and tokenizer. Raises FinstError if no family reads it."""
        family = family_of(self.model_type)
        with quiet(), TemporaryDirectory() as folder:
            Path(folder, "preprocessor_config.json").write_text(json.dumps(dict(self.pixels)))
            image_processor = family.load_image_processor(Path(folder))
        config = self.config()
        family.check(config, image_processor)
        return Reader(self.name, Path(), None, config, tokenizer, image_processor, family)


def _decoder(layers: int, width: int, heads: int, kv_heads: int, mlp: int, vocab: int) -> dict[str, int]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": mlp,
        "vocab_size": vocab,
    }


def _qwen2_vl(hub: str, decoder: dict[str, int], *, tied: bool = False) -> Shape:
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
    return Shape(_name(hub), "qwen2_vl", text, vision, {"tie_word_embeddings": tied}, (hub,), QWEN2_PIXELS)


def _qwen2_5_vl(hub: str, decoder: dict[str, int], *, vision_mlp: int = 3420, tied: bool = False) -> Shape:
    """Vision as in Qwen2-VL, but with gated MLPs and, in all layers except four, attention in windows of 112 px."""
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
    return Shape(_name(hub), "qwen2_5_vl", text, vision, {"tie_word_embeddings": tied}, (hub,), QWEN2_PIXELS)


def _qwen3_vl(hub: str, decoder: dict[str, int], *, depth: int, width: int, mlp: int, tied: bool) -> Shape:
    """Vision: patches of 16 px; features of three of its layers are added after the decoder's first three layers."""
    rotary = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    text = {**decoder, "head_dim": 128, "max_position_embeddings": 262144, "rope_parameters": rotary}
    vision = {
        "depth": depth,
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_heads": 16,
        "patch_size": 16,
        "out_hidden_size": decoder["hidden_size"],
        "deepstack_visual_indexes": [8, 16, 24] if depth == 27 else [5, 11, 17],
    }
    pixels = {"patch_size": 16, "size": {"shortest_edge": 1 << 16, "longest_edge": 1 << 24}}
    return Shape(_name(hub), "qwen3_vl", text, vision, {"tie_word_embeddings": tied}, (hub,), pixels)


def _llava(hub: str, decoder: dict[str, int]) -> Shape:
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
    return Shape(_name(hub.removesuffix("-hf")), "llava", text, vision, {}, (hub,), CLIP_PIXELS)


def _siglip(layers: int, side: int) -> dict[str, Any]:
    """SigLIP of size "so400m", without the pooling head."""
    return {
        "model_type": "siglip_vision_model",
        "num_hidden_layers": layers,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": side,
        "vision_use_head": False,
    }


def _llava_onevision(name: str, hub: str, decoder: dict[str, int], *, tied: bool = False) -> Shape:
    """Vision: SigLIP at 384 px on the whole picture and on up to 36 tiles of it, joined to one grid."""
    text = {**decoder, "model_type": "qwen2", "rms_norm_eps": 1e-6, "max_position_embeddings": 32768}
    sides = [384 * n for n in range(1, 7)]
    rest = {
        "image_token_index": 151646,
        "video_token_index": 151647,
        "image_grid_pinpoints": [[high, wide] for high in sides for wide in sides],
        "tie_word_embeddings": tied,
    }
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e6}
    text["tie_word_embeddings"] = tied
    return Shape(name, "llava_onevision", text, _siglip(26, 384), rest, (hub,))


def _idefics2(*hub: str) -> Shape:
    """Vision: SigLIP at up to 980 px, whose patches a perceiver mixes into 64 tokens."""
    text = {
        **_decoder(32, 4096, 32, 8, 14336, 32003),
        "model_type": "mistral",
        "max_position_embeddings": 32768,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
    }
    vision = {**_siglip(27, 980), "model_type": "idefics2_vision"}
    del vision["vision_use_head"]
    perceiver = {
        "model_type": "idefics2_perceiver",
        "hidden_size": 4096,
        "resampler_n_latents": 64,
        "resampler_depth": 3,
        "resampler_n_heads": 16,
        "resampler_head_dim": 96,
        "num_key_value_heads": 4,
    }
    rest = {"perceiver_config": perceiver, "image_token_id": 32001, "tie_word_embeddings": False}
    return Shape("idefics2-8b", "idefics2", text, vision, rest, hub)


def _idefics3() -> Shape:
    """Vision: SigLIP at 364 px; squares of four patches become a token."""
    text = {
        **_decoder(32, 4096, 32, 8, 14336, 128259),
        "model_type": "llama",
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    }
    vision = {**_siglip(27, 364), "model_type": "idefics3_vision"}
    del vision["vision_use_head"]
    rest = {"image_token_id": 128257, "scale_factor": 2, "tie_word_embeddings": False}
    hub = ("HuggingFaceM4/Idefics3-8B-Llama3",)
    return Shape("idefics3-8b", "idefics3", text, vision, rest, hub, _tiles(364))


def _smolvlm2(hub: str, decoder: dict[str, int], vision: dict[str, int], scale: int, *, tied: bool = False) -> Shape:
    """Vision: SigLIP; squares of ``scale`` by ``scale`` patches become a token."""
    text = {**decoder, "model_type": "llama", "max_position_embeddings": 8192, "tie_word_embeddings": tied}
    rest = {"image_token_id": 49190, "scale_factor": scale, "tie_word_embeddings": tied}
    return Shape(
        _name(hub.removesuffix("-Video-Instruct")),
        "smolvlm",
        text,
        {"model_type": "smolvlm_vision", **vision},
        rest,
        (hub,),
        _tiles(vision["image_size"]),
    )


def _tiles(side: int) -> dict[str, Any]:
    """Picture sizes of Idefics3 and SmolVLM, which split pictures into up to four tiles; finst uses the whole only."""
    return {"size": {"longest_edge": 4 * side}, "max_image_size": {"longest_edge": side}}


def _square(side: int) -> dict[str, Any]:
    """The whole picture squeezed into a square."""
    return {"size": {"height": side, "width": side}}


def _internvl3(hub: str, decoder: dict[str, int]) -> Shape:
    """Vision: InternViT-300M at 448 px; squares of four patches become a token."""
    text = {
        **decoder,
        "model_type": "qwen2",
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": False,
    }
    vision = {
        "model_type": "internvl_vision",
        "num_hidden_layers": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "attention_bias": True,
        "image_size": [448, 448],
        "patch_size": [14, 14],
    }
    rest = {"image_token_id": 151667, "image_seq_length": 256, "tie_word_embeddings": False}
    return Shape(_name(hub.removesuffix("-hf")), "internvl", text, vision, rest, (hub,), _square(448))


def _gemma3(hub: str, decoder: dict[str, int]) -> Shape:
    """Vision: SigLIP at 896 px; squares of 16 patches become a token. Five of six layers see 1024 tokens back."""
    text = {
        **decoder,
        "model_type": "gemma3_text",
        "head_dim": 256,
        "sliding_window": 1024,
        "max_position_embeddings": 131072,
    }
    rest = {"mm_tokens_per_image": 256, "image_token_index": 262144}
    return Shape(_name(hub), "gemma3", text, _siglip(27, 896), rest, (hub,), _square(896))


def _name(hub: str) -> str:
    """``Qwen/Qwen2-VL-7B-Instruct`` is ``qwen2-vl-7b``."""
    return hub.partition("/")[2].lower().removesuffix("-instruct").removesuffix("-it")


_QWEN_05B = (24, 896, 14, 2, 4864)
_QWEN_15B = (28, 1536, 12, 2, 8960)
_QWEN_7B = (28, 3584, 28, 4, 18944)
_SIGLIP_BASE = {
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "patch_size": 16,
    "image_size": 512,
}
_SIGLIP_SO400M = {
    "num_hidden_layers": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 384,
}

SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        shape.name: shape
        for shape in (
            _qwen2_vl("Qwen/Qwen2-VL-2B-Instruct", _decoder(*_QWEN_15B, 151936), tied=True),
            _qwen2_vl("Qwen/Qwen2-VL-7B-Instruct", _decoder(*_QWEN_7B, 152064)),
            _qwen2_5_vl("Qwen/Qwen2.5-VL-3B-Instruct", _decoder(36, 2048, 16, 2, 11008, 151936), tied=True),
            _qwen2_5_vl("Qwen/Qwen2.5-VL-7B-Instruct", _decoder(*_QWEN_7B, 152064)),
            _qwen2_5_vl("Qwen/Qwen2.5-VL-32B-Instruct", _decoder(64, 5120, 40, 8, 27648, 152064), vision_mlp=3456),
            _llava("llava-hf/llava-1.5-7b-hf", _decoder(32, 4096, 32, 32, 11008, 32064)),
            _llava("llava-hf/llava-1.5-13b-hf", _decoder(40, 5120, 40, 40, 13824, 32064)),
            _llava_onevision(
                "llava-onevision-0.5b",
                "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
                _decoder(*_QWEN_05B, 152000),
                tied=True,
            ),
            _llava_onevision(
                "llava-onevision-7b", "llava-hf/llava-onevision-qwen2-7b-ov-hf", _decoder(*_QWEN_7B, 152000)
            ),
            _idefics2("HuggingFaceM4/idefics2-8b", "HuggingFaceM4/idefics2-8b-chatty"),
            _idefics3(),
            _smolvlm2(
                "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
                _decoder(32, 960, 15, 5, 2560, 49280),
                _SIGLIP_BASE,
                4,
            ),
            _smolvlm2(
                "HuggingFaceTB/SmolVLM2-2.2B-Instruct", _decoder(24, 2048, 32, 32, 8192, 49280), _SIGLIP_SO400M, 3
            ),
            _internvl3("OpenGVLab/InternVL3-1B-hf", _decoder(*_QWEN_05B, 151674)),
            _internvl3("OpenGVLab/InternVL3-2B-hf", _decoder(*_QWEN_15B, 151674)),
            _internvl3("OpenGVLab/InternVL3-8B-hf", _decoder(*_QWEN_7B, 151674)),
            _qwen3_vl(
                "Qwen/Qwen3-VL-2B-Instruct",
                _decoder(28, 2048, 16, 8, 6144, 151936),
                depth=24,
                width=1024,
                mlp=4096,
                tied=True,
            ),
            _qwen3_vl(
                "Qwen/Qwen3-VL-4B-Instruct",
                _decoder(36, 2560, 32, 8, 9728, 151936),
                depth=24,
                width=1024,
                mlp=4096,
                tied=True,
            ),
            _qwen3_vl(
                "Qwen/Qwen3-VL-8B-Instruct",
                _decoder(36, 4096, 32, 8, 12288, 151936),
                depth=27,
                width=1152,
                mlp=4304,
                tied=False,
            ),
            _gemma3("google/gemma-3-4b-it", _decoder(34, 2560, 8, 4, 10240, 262208)),
            _gemma3("google/gemma-3-12b-it", _decoder(48, 3840, 16, 8, 15360, 262208)),
        )
    }
)
"""Shapes by the names that ``--shape`` takes."""


def shape_named(name: str) -> Shape:
    """The shape of that name. Raises FinstError for a name that is not in ``SHAPES``."""
    if name not in SHAPES:
        raise choice("shape", name, SHAPES)
    return SHAPES[name]


def published(model: str) -> Shape | None:
    """The shape of a hub id or of a name in ``SHAPES``; None for other models."""
    return next((shape for shape in SHAPES.values() if model in (shape.name, *shape.hub)), None)
