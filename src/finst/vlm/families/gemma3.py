"""Gemma 3: the whole picture resized to a square, seen by SigLIP; image tokens that see each other.

Most layers of the decoder have a sliding window, the others see everything; each kind has its own rotary embedding.
Queries and keys have norms. The outputs of attention and MLP are normed again before they are added to the residual
stream: sites ``attn_out`` and ``mlp_out`` are the outputs of ``o_proj`` and of the MLP, before those norms.

The tokens of a picture see each other in both directions. So a change at one of them changes all of them one layer
later, the earlier ones included, and a row that is edited or read at an image token begins with the picture's first
token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isqrt
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from finst.errors import FinstError
from finst.vlm.families.base import PROJECTIONS, Blocks, DecoderInputs, Family, Pixels, Prepared, counted, seen_once
from finst.vlm.to_device import cat_to_device
from finst.vlm.visibility import visible

AROUND = ("\n\n<start_of_image>", "<end_of_image>\n\n")
"""Text before and after a picture's tokens: empty lines and the marks of its beginning and end."""


class Gemma3(Family):
    """Checkpoints of ``Gemma3ForConditionalGeneration``, without pan and scan: a picture is one square."""

    model_types: tuple[str, ...] = ("gemma3",)
    image_placeholder: str = "<start_of_image>"
    image_token: str = "<image_soft_token>"
    image_processors: tuple[str, ...] = ("Gemma3",)
    site_modules: Mapping[str, str] = MappingProxyType(
        {**PROJECTIONS, "q": "self_attn.q_norm", "k": "self_attn.k_norm"}
    )
    heads_first: Collection[str] = ("q", "k")

    def render(self, user: str) -> str:
        """Gemma's turns, as in the template of the published checkpoints; their tokenizer adds ``<bos>``."""
        return f"<start_of_turn>user\n{self.image_placeholder}{user}<end_of_turn>\n<start_of_turn>model\n"

    def load_image_processor(self, folder: Path) -> Gemma3ImageProcessorPil:
        """Gemma 3's own, from ``preprocessor_config.json`` or ``processor_config.json``."""
        return Gemma3ImageProcessorPil.from_pretrained(folder)

    def check(self, config: Any, image_processor: Gemma3ImageProcessorPil) -> None:
        """Raises FinstError for other vision towers and sizes, and for settings that transformers' class ignores."""
        tower, text = config.vision_config, config.get_text_config()
        side, patches = isqrt(config.mm_tokens_per_image), tower.image_size // tower.patch_size
        if tower.model_type != "siglip_vision_model" or side**2 != config.mm_tokens_per_image or patches % side:
            raise FinstError(
                f"Gemma 3 with the vision tower {tower.model_type!r} and {config.mm_tokens_per_image} tokens for "
                f"{patches}x{patches} patches is not supported: expected 'siglip_vision_model' and a square of tokens, "
                "each for a square of patches"
            )
        for name in ("final_logit_softcapping", "attn_logit_softcapping", "use_bidirectional_attention"):
            if getattr(text, name):
                raise FinstError(
                    f"Gemma 3 with {name} {getattr(text, name)} is not supported: expected none, as in the published "
                    "checkpoints; transformers' Gemma3ForConditionalGeneration ignores it"
                )
        size = {"height": tower.image_size, "width": tower.image_size}
        if not image_processor.do_resize or dict(image_processor.size or {}) != size:
            raise FinstError(
                "the image processor does not fit Gemma 3's vision tower: expected do_resize to "
                f"{tower.image_size}x{tower.image_size} px"
            )

    def pixels(
        self, config: Any, image_processor: Gemma3ImageProcessorPil, image: UInt8[np.ndarray, "height width 3"]
    ) -> Pixels:
        """``pixel_values`` [1, 3, side, side] of the whole picture, whatever its aspect ratio."""
        height, width = image.shape[:2]
        made = image_processor.preprocess(
            [image], return_tensors="pt", input_data_format="channels_last", do_pan_and_scan=False
        )
        side = isqrt(config.mm_tokens_per_image)
        window = (0, 0, width, height)
        return seen_once({"pixel_values": made["pixel_values"]}, (side, side), window, AROUND)

    def prepare(
        self,
        model: Any,
        input_ids: Int[Tensor, "context pos"],
        image_inputs: Sequence[Mapping[str, Tensor]],
        device: torch.device,
    ) -> Prepared:
        """Contexts with positions 0, 1, 2, ... and a block of image tokens, which must be at the same positions."""
        pixel_values = cat_to_device([inputs["pixel_values"] for inputs in image_inputs], device)
        is_image = input_ids == model.config.image_token_id
        if (is_image != is_image[0]).any():
            raise FinstError(
                "the image tokens of a batch for Gemma 3 are at different positions: expected the same in all contexts"
            )
        pictures = {"pixel_values": pixel_values}
        return Prepared(input_ids.to(device), counted(input_ids, device), pictures, {}, _runs(is_image[0]))

    def features(self, model: Any, prepared: Prepared) -> Sequence[Float[Tensor, "patch d_model"]]:
        """Features of SigLIP's last layer, averaged over squares of patches, through the projector."""
        return tuple(model.get_image_features(**prepared.pictures).pooler_output)

    def decoder_arguments(self, model: Any, inputs: DecoderInputs) -> Mapping[str, Any]:
        """A mask for each kind of layer; the decoder would make its own without the blocks."""
        if not inputs.blocks:
            return {}
        windows = {"full_attention": None, "sliding_attention": model.config.get_text_config().sliding_window}
        tokens, device = range(inputs.embeds.shape[1]), inputs.embeds.device
        masks = {kind: visible(tokens, tokens, inputs.blocks, window, device) for kind, window in windows.items()}
        return {"attention_mask": {kind: mask[None, None] for kind, mask in masks.items()}}

    def decoder(self, model: Any) -> nn.Module:
        """``Gemma3TextModel``."""
        return model.model.language_model


def _runs(is_image: Tensor) -> Blocks:
    """Runs of consecutive image tokens."""
    edges = np.flatnonzero(np.diff(is_image.numpy().astype(np.int8), prepend=0, append=0))
    return tuple((int(start), int(stop)) for start, stop in edges.reshape(-1, 2))
