"""Qwen2-VL and Qwen2.5-VL: any number of patches, merged in squares, on the image's own grid; positions on three axes.

Qwen2.5-VL has another vision tower (attention in windows, RMS norms) with the same inputs and outputs: features come in
reading order, since the tower undoes its sorting by windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from finst.errors import FinstError
from finst.vlm.families.base import PROJECTIONS, Family, Pixels, Prepared, seen_once
from finst.vlm.to_device import cat_to_device


class Qwen2VL(Family):
    """Checkpoints of ``Qwen2VLForConditionalGeneration``, finst's own ``organism`` among them, and of Qwen2.5-VL's."""

    model_types: tuple[str, ...] = ("qwen2_vl", "qwen2_5_vl")
    image_placeholder: str = "<|image_pad|>"
    image_processors: tuple[str, ...] = ("Qwen2VL", "Qwen2_5_VL", "Qwen3VL")
    site_modules: Mapping[str, str] = PROJECTIONS

    def render(self, user: str) -> str:
        """ChatML with the system message of Qwen2-VL's fine-tuning."""
        return (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            f"<|im_start|>user\n<|vision_start|>{self.image_placeholder}<|vision_end|>{user}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )

    def load_image_processor(self, folder: Path) -> Qwen2VLImageProcessorPil:
        """Qwen2-VL's own, from ``preprocessor_config.json`` or ``processor_config.json``."""
        return Qwen2VLImageProcessorPil.from_pretrained(folder)

    def check(self, config: Any, image_processor: Qwen2VLImageProcessorPil) -> None:
        """Raises FinstError when the patch sizes of image processor and vision tower differ."""
        tower = config.vision_config
        made = (image_processor.patch_size, image_processor.merge_size, image_processor.temporal_patch_size)
        taken = (tower.patch_size, tower.spatial_merge_size, tower.temporal_patch_size)
        if made != taken:
            raise FinstError(
                f"the image processor makes patches of {made} and the vision tower takes {taken} (px a side, patches a "
                "side of an image token, frames): expected equal ones"
            )

    def pixels(
        self, config: Any, image_processor: Qwen2VLImageProcessorPil, image: UInt8[np.ndarray, "height width 3"]
    ) -> Pixels:
        """``pixel_values`` [patch, values] and ``image_grid_thw`` [1, 3] (time, height, width in unmerged patches)."""
        height, width = image.shape[:2]
        try:
            inputs = image_processor(images=[image], return_tensors="pt", input_data_format="channels_last")
        except ValueError as error:
            raise FinstError(f"a picture of {width}x{height} px does not suit {config.model_type}: {error}") from error
        _, high, wide = (int(n) for n in inputs["image_grid_thw"][0])
        merge = int(image_processor.merge_size)
        return seen_once(dict(inputs), (high // merge, wide // merge), (0, 0, width, height))

    def prepare(
        self,
        model: Any,
        input_ids: Int[Tensor, "context pos"],
        image_inputs: Sequence[Mapping[str, Tensor]],
        device: torch.device,
    ) -> Prepared:
        """Contexts with positions from the model's own ``get_rope_index``, without its stored deltas."""
        grid_thw = torch.cat([inputs["image_grid_thw"] for inputs in image_inputs])
        is_image = (input_ids == model.config.image_token_id).int()
        position_ids, _ = model.model.get_rope_index(input_ids, mm_token_type_ids=is_image, image_grid_thw=grid_thw)
        tower = model.config.vision_config
        pictures = {
            "position_ids": get_vision_position_ids(grid_thw, tower.spatial_merge_size),
        }
        sizes = {"image_grid_thw": grid_thw.numpy()}
        if hasattr(tower, "window_size"):
            pictures["window_index"], windows = get_vision_window_index(
                grid_thw, tower.spatial_merge_size, tower.window_size, tower.patch_size
            )
            sizes["cu_window_seqlens"] = windows.numpy()
        on_device = {name: tensor.to(device) for name, tensor in pictures.items()}
        on_device["pixel_values"] = cat_to_device([inputs["pixel_values"] for inputs in image_inputs], device)
        return Prepared(input_ids.to(device), position_ids.to(device), on_device, sizes)

    def features(self, model: Any, prepared: Prepared) -> Sequence[Float[Tensor, "patch d_model"]]:
        """Features of ``Qwen2VisionTransformerPretrainedModel`` or ``Qwen2_5_VisionTransformerPretrainedModel``."""
        return self._tower_output(model, prepared).pooler_output

    def _tower_output(self, model: Any, prepared: Prepared) -> Any:
        """The whole result of the vision tower."""
        sizes = {name: torch.from_numpy(size) for name, size in prepared.sizes.items()}
        return model.get_image_features(**prepared.pictures, **sizes)

    def decoder(self, model: Any) -> nn.Module:
        """``Qwen2VLTextModel`` or ``Qwen2_5_VLTextModel``."""
        return model.model.language_model
