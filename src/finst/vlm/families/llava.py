"""LLaVA-1.5: CLIP sees the resized middle square of the picture; the decoder's positions are 0, 1, 2, ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from finst.errors import FinstError
from finst.vlm.families.base import PROJECTIONS, Family, Pixels, Prepared, check_size, counted, seen_once
from finst.vlm.to_device import cat_to_device
from finst.vlm.tokens import Window


class Llava(Family):
    """Checkpoints of ``LlavaForConditionalGeneration`` with a CLIP tower whose class token the decoder does not see."""

    model_types: tuple[str, ...] = ("llava",)
    image_placeholder: str = "<image>"
    image_processors: tuple[str, ...] = ("CLIP", "Llava")
    site_modules: Mapping[str, str] = PROJECTIONS

    def render(self, user: str) -> str:
        """Vicuna's turns without its system message, as on LLaVA-1.5's model card."""
        return f"USER: {self.image_placeholder}\n{user} ASSISTANT:"

    def load_image_processor(self, folder: Path) -> LlavaImageProcessorPil:
        """LLaVA's own. Published checkpoints name CLIP's, which differs only in a padding that ``check`` refuses."""
        return LlavaImageProcessorPil.from_pretrained(folder)

    def check(self, config: Any, image_processor: LlavaImageProcessorPil) -> None:
        """Raises FinstError for another vision tower, features with the class token, and other ways to resize."""
        tower, strategy = config.vision_config, config.vision_feature_select_strategy
        if tower.model_type != "clip_vision_model" or strategy != "default":
            raise FinstError(
                f"LLaVA with the vision tower {tower.model_type!r} and feature selection {strategy!r} is not "
                "supported: expected LLaVA-1.5's 'clip_vision_model' and 'default' (all patches, no class token)"
            )
        processor, side = image_processor, tower.image_size
        resized = processor.do_resize and (processor.size or {}).get("shortest_edge")
        cropped = processor.do_center_crop and dict(processor.crop_size or {})
        if resized != side or cropped != {"height": side, "width": side} or processor.do_pad:
            raise FinstError(
                f"the image processor does not fit LLaVA-1.5's vision tower: expected do_resize to a shortest_edge of "
                f"{side} px, do_center_crop to {side}x{side} px, and no do_pad"
            )

    def pixels(
        self, config: Any, image_processor: LlavaImageProcessorPil, image: UInt8[np.ndarray, "height width 3"]
    ) -> Pixels:
        """``pixel_values`` [1, 3, side, side] of the middle square; no side may be shorter than a patch."""
        tower = config.vision_config
        check_size(image, tower.patch_size, "LLaVA-1.5")
        height, width = image.shape[:2]
        inputs = image_processor(images=[image], return_tensors="pt", input_data_format="channels_last")
        patches = tower.image_size // tower.patch_size
        return seen_once(dict(inputs), (patches, patches), middle(width, height, tower.image_size))

    def prepare(
        self,
        model: Any,
        input_ids: Int[Tensor, "context pos"],
        image_inputs: Sequence[Mapping[str, Tensor]],
        device: torch.device,
    ) -> Prepared:
        """Contexts with positions 0, 1, 2, ..."""
        pixel_values = cat_to_device([inputs["pixel_values"] for inputs in image_inputs], device)
        pictures = {"pixel_values": pixel_values}
        return Prepared(input_ids.to(device), counted(input_ids, device), pictures, {})

    def features(self, model: Any, prepared: Prepared) -> Sequence[Float[Tensor, "patch d_model"]]:
        """Features of the CLIP tower's penultimate layer, through the projector."""
        return model.get_image_features(**prepared.pictures).pooler_output

    def decoder(self, model: Any) -> nn.Module:
        """``LlamaModel``, or another text model that the checkpoint has."""
        return model.model.language_model


def middle(width: int, height: int, side: int) -> Window:
    """The part of the picture that remains when its shorter edge is resized to ``side`` px and the middle is cropped.

    The crop has whole px of the resized picture, so the window is not exactly in the middle of the original.
    """
    short = min(width, height)
    edges = []
    for length in (width, height):
        resized = side * length // short
        start = (resized - side) // 2
        edges.append((start * length / resized, (start + side) * length / resized))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom
