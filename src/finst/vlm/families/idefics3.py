"""Idefics3 and SmolVLM: the whole picture resized to one square, its patches merged in squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from finst.errors import FinstError
from finst.vlm.families.base import PROJECTIONS, Family, Pixels, Prepared, check_decoder, check_size, counted, seen_once
from finst.vlm.families.idefics2 import FAKE, patch_features
from finst.vlm.to_device import cat_to_device


class Idefics3(Family):
    """Checkpoints of ``Idefics3ForConditionalGeneration``; pictures are not split into tiles.

    Checkpoints of ``SmolVLMForConditionalGeneration`` differ only in the first token of a conversation, which the
    tokenizer names.
    """

    model_types: tuple[str, ...] = ("idefics3", "smolvlm")
    image_placeholder: str = "<image>"
    site_modules: Mapping[str, str] = PROJECTIONS
    opened: bool = True
    image_processors: tuple[str, ...] = ("Idefics3", "SmolVLM")

    def render(self, user: str) -> str:
        """The format of the templates of Idefics3-8B and SmolVLM2, without the first token."""
        return f"User:{self.image_placeholder}{user}<end_of_utterance>\nAssistant:"

    def load_image_processor(self, folder: Path) -> Idefics3ImageProcessorPil:
        """Idefics3's own image processor; SmolVLM's is the same."""
        return Idefics3ImageProcessorPil.from_pretrained(folder)

    def check(self, config: Any, image_processor: Idefics3ImageProcessorPil) -> None:
        """Raises FinstError for another decoder, pictures of another size, and patches that do not merge evenly."""
        check_decoder(config, "llama", "Idefics3 or SmolVLM")
        side, tile = config.vision_config.image_size, (image_processor.max_image_size or {}).get("longest_edge")
        if tile != side:
            raise FinstError(
                f"the image processor makes squares of {tile} px and the vision tower of Idefics3 or SmolVLM takes "
                f"{side} px: expected equal ones"
            )
        patches = side // config.vision_config.patch_size
        if patches % config.scale_factor:
            raise FinstError(
                f"{patches} patches a side do not merge into image tokens of {config.scale_factor} a side: expected a "
                "multiple"
            )

    def pixels(self, config: Any, image_processor: Any, image: UInt8[np.ndarray, "height width 3"]) -> Pixels:
        """``pixel_values`` [1, 1, 3, side, side] and ``pixel_attention_mask`` [1, 1, side, side].

        No side may be shorter than a patch. Px at the right and bottom of the square that do not fill a patch are not
        seen (SmolVLM2's 2.2B sees 378 of 384).
        """
        side, patch = config.vision_config.image_size, config.vision_config.patch_size
        check_size(image, patch, "Idefics3 or SmolVLM")
        inputs = image_processor(
            images=[image], do_image_splitting=False, return_tensors="pt", input_data_format="channels_last"
        )
        height, width = image.shape[:2]
        tokens, seen = side // patch // config.scale_factor, side // patch * patch / side
        around = (f"{FAKE}<global-img>", FAKE)
        return seen_once(dict(inputs), (tokens, tokens), (0, 0, width * seen, height * seen), around)

    def prepare(
        self,
        model: Any,
        input_ids: Int[Tensor, "context pos"],
        image_inputs: Sequence[Mapping[str, Tensor]],
        device: torch.device,
    ) -> Prepared:
        """Contexts with positions 0, 1, 2, ..."""
        values = cat_to_device([inputs["pixel_values"].flatten(0, 1) for inputs in image_inputs], device)
        return Prepared(input_ids.to(device), counted(input_ids, device), {"pixel_values": values}, {})

    def features(self, model: Any, prepared: Prepared) -> Sequence[Float[Tensor, "patch d_model"]]:
        """Features of the tower, neighbouring patches concatenated for each token, through one projection."""
        return tuple(model.model.connector(patch_features(model, prepared.pictures["pixel_values"])))

    def decoder(self, model: Any) -> nn.Module:
        """``LlamaModel``."""
        return model.model.text_model
