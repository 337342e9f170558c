"""InternVL3 in Hugging Face's form: the whole picture resized to one square tile, its patches merged in squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from finst.errors import FinstError
from finst.vlm.families.base import PROJECTIONS, Family, Pixels, Prepared, check_decoder, check_size, counted, seen_once
from finst.vlm.to_device import cat_to_device


class InternVL(Family):
    """Checkpoints of ``InternVLForConditionalGeneration`` with a Qwen2 decoder; pictures are not split into tiles."""

    model_types: tuple[str, ...] = ("internvl",)
    image_placeholder: str = "<IMG_CONTEXT>"
    image_processors: tuple[str, ...] = ("GotOcr2", "InternVL")
    site_modules: Mapping[str, str] = PROJECTIONS

    def render(self, user: str) -> str:
        """ChatML without a system message, as in InternVL3's own template in Hugging Face's form."""
        return f"<|im_start|>user\n{self.image_placeholder}\n{user}<|im_end|>\n<|im_start|>assistant\n"

    def load_image_processor(self, folder: Path) -> GotOcr2ImageProcessorPil:
        """GOT-OCR2's image processor, which published checkpoints name."""
        return GotOcr2ImageProcessorPil.from_pretrained(folder)

    def check(self, config: Any, image_processor: GotOcr2ImageProcessorPil) -> None:
        """Raises FinstError for another decoder, features with the class token, and pictures of another size."""
        check_decoder(config, "qwen2", "InternVL3")
        if config.vision_feature_select_strategy != "default":
            raise FinstError(
                f"InternVL3 with the feature selection {config.vision_feature_select_strategy!r} is not supported: "
                "expected 'default' (all patches, no class token)"
            )
        height, width = config.vision_config.image_size
        if not image_processor.do_resize or dict(image_processor.size or {}) != {"height": height, "width": width}:
            raise FinstError(
                f"the image processor does not fit InternVL3's vision tower: expected do_resize to {width}x{height} px"
            )

    def pixels(self, config: Any, image_processor: Any, image: UInt8[np.ndarray, "height width 3"]) -> Pixels:
        """``pixel_values`` [1, 3, side, side] of the whole picture; no side may be shorter than a patch."""
        tower = config.vision_config
        check_size(image, max(tower.patch_size), "InternVL3")
        inputs = image_processor(
            images=[image], crop_to_patches=False, return_tensors="pt", input_data_format="channels_last"
        )
        high, wide = (
            int(side // patch * config.downsample_ratio)
            for side, patch in zip(tower.image_size, tower.patch_size, strict=True)
        )
        height, width = image.shape[:2]
        pictures = {"pixel_values": inputs["pixel_values"]}
        return seen_once(pictures, (high, wide), (0, 0, width, height), ("<img>", "</img>"))

    def prepare(
        self,
        model: Any,
        input_ids: Int[Tensor, "context pos"],
        image_inputs: Sequence[Mapping[str, Tensor]],
        device: torch.device,
    ) -> Prepared:
        """Contexts with positions 0, 1, 2, ..."""
        pictures = {"pixel_values": cat_to_device([inputs["pixel_values"] for inputs in image_inputs], device)}
        return Prepared(input_ids.to(device), counted(input_ids, device), pictures, {})

    def features(self, model: Any, prepared: Prepared) -> Sequence[Float[Tensor, "patch d_model"]]:
        """Features of ``InternVLVisionModel``, four patches concatenated for each token, through the projector."""
        return tuple(model.get_image_features(**prepared.pictures).pooler_output)

    def decoder(self, model: Any) -> nn.Module:
        """``Qwen2Model``."""
        return model.model.language_model
