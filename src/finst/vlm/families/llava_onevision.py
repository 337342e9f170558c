"""LLaVA-OneVision: two views of the picture, resized to one square and in tiles that keep its shape (AnyRes).

The second view's tokens come row by row; after each row comes a learned ``image_newline`` that shows no part of the
picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
from transformers.image_utils import ChannelDimension
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.modeling_llava_onevision import unpad_image

from finst.errors import FinstError
from finst.vlm.families.base import (
    PROJECTIONS,
    Family,
    Pixels,
    Prepared,
    check_decoder,
    check_size,
    counted,
    grid_roles,
)
from finst.vlm.to_device import cat_to_device
from finst.vlm.tokens import Role, View

Spans = Float[np.ndarray, "patch 2"]
"""Start and end of patches along one axis."""

SHRUNK_ABOVE = 1.1
"""Features are resized to ``anyres_max_N`` squares if each side has more than this many times as many (OneVision's)."""


class LlavaOneVision(Family):
    """Checkpoints of ``LlavaOnevisionForConditionalGeneration`` with a SigLIP tower and a Qwen2 decoder."""

    model_types: tuple[str, ...] = ("llava_onevision",)
    image_placeholder: str = "<image>"
    image_processors: tuple[str, ...] = ("LlavaOnevision",)
    site_modules: Mapping[str, str] = PROJECTIONS

    def render(self, user: str) -> str:
        """The format on the model card: ChatML without a system message or line ends between turns."""
        return f"<|im_start|>user {self.image_placeholder}\n{user}<|im_end|><|im_start|>assistant\n"

    def load_image_processor(self, folder: Path) -> LlavaOnevisionImageProcessorPil:
        """OneVision's own image processor."""
        return LlavaOnevisionImageProcessorPil.from_pretrained(folder)

    def check(self, config: Any, image_processor: LlavaOnevisionImageProcessorPil) -> None:
        """Raises FinstError for other towers and decoders, other features, and pictures cut into other tiles."""
        check_decoder(config, "qwen2", "LLaVA-OneVision")
        tower, layer = config.vision_config, config.vision_feature_layer
        strategy = config.vision_feature_select_strategy
        if tower.model_type != "siglip_vision_model" or (layer, strategy) != (-1, "full"):
            raise FinstError(
                f"LLaVA-OneVision with the vision tower {tower.model_type!r} and feature selection {strategy!r} of "
                f"layer {layer} is not supported: expected 'siglip_vision_model' and 'full' of layer -1 (all patches)"
            )
        if not re.fullmatch(r"anyres_max_\d+", config.vision_aspect_ratio):
            raise FinstError(
                f"LLaVA-OneVision with the aspect ratio {config.vision_aspect_ratio!r} is not supported: expected "
                "'anyres_max_N', such as 'anyres_max_9'"
            )
        side, made = tower.image_size, image_processor
        sizes = {"height": side, "width": side}
        same = [list(p) for p in made.image_grid_pinpoints] == [list(p) for p in config.image_grid_pinpoints]
        if not made.do_resize or dict(made.size or {}) != sizes or made.do_center_crop or made.crop_size or not same:
            raise FinstError(
                f"the image processor does not fit LLaVA-OneVision's vision tower: expected do_resize to {side}x{side} "
                "px without a crop, and the configuration's image_grid_pinpoints"
            )

    def pixels(
        self, config: Any, image_processor: LlavaOnevisionImageProcessorPil, image: UInt8[np.ndarray, "height width 3"]
    ) -> Pixels:
        """``pixel_values`` [1, 1 + tile, 3, side, side], the whole picture first, and ``image_sizes`` [1, 2].

        No side may be shorter than a patch.
        """
        check_size(image, config.vision_config.patch_size, "LLaVA-OneVision")
        inputs = image_processor(images=[image], return_tensors="pt", input_data_format="channels_last")
        whole, tiled = _whole(config.vision_config, image), _tiled(config, image)
        line_end = Role("template")
        rows = np.array_split(np.array(grid_roles(tiled.grid, view=1)), tiled.grid[0])
        roles = (*grid_roles(whole.grid), *(role for row in rows for role in (*row, line_end)))
        pictures = {name: inputs[name] for name in ("pixel_values", "image_sizes")}
        return Pixels(pictures, (whole, tiled), roles)

    def prepare(
        self,
        model: Any,
        input_ids: Int[Tensor, "context pos"],
        image_inputs: Sequence[Mapping[str, Tensor]],
        device: torch.device,
    ) -> Prepared:
        """Contexts with positions 0, 1, 2, ...; the number of a picture's tiles follows from its size."""
        pixel_values = cat_to_device([inputs["pixel_values"].flatten(0, 1) for inputs in image_inputs], device)
        sizes = {"image_sizes": torch.cat([inputs["image_sizes"] for inputs in image_inputs]).numpy()}
        pictures = {"pixel_values": pixel_values}
        return Prepared(input_ids.to(device), counted(input_ids, device), pictures, sizes)

    def features(self, model: Any, prepared: Prepared) -> Sequence[Float[Tensor, "token d_model"]]:
        """Features of SigLIP's last layer, through the projector; the model itself adds the line ends."""
        sizes = torch.from_numpy(prepared.sizes["image_sizes"])
        return model.get_image_features(**prepared.pictures, image_sizes=sizes).pooler_output

    def decoder(self, model: Any) -> nn.Module:
        """``Qwen2Model``."""
        return model.model.language_model


def _whole(tower: Any, image: UInt8[np.ndarray, "height width 3"]) -> View:
    """The picture resized to one square; px at its right and bottom that do not fill a patch are not seen."""
    rows, cols = (_squares(1, tower) * length / tower.image_size for length in image.shape[:2])
    return View(rows, cols)


def _squares(count: int, tower: Any) -> Spans:
    """The patches of ``count`` squares in a row, in px; px at the end of a square that fill no patch are not seen."""
    starts = np.arange(0, tower.image_size - tower.patch_size + 1, tower.patch_size)
    starts = (np.arange(count)[:, None] * tower.image_size + starts).ravel()
    return np.stack([starts, starts + tower.patch_size], axis=1).astype(np.float64)


def _tiled(config: Any, image: UInt8[np.ndarray, "height width 3"]) -> View:
    """The picture resized to fit a canvas of tiles, without the patches that show the canvas's empty margins."""
    tower, size = config.vision_config, image.shape[:2]
    canvas = select_best_resolution(size, config.image_grid_pinpoints)
    resized = get_patch_output_size(image, canvas, input_data_format=ChannelDimension.LAST)
    axes = []
    for length, filled, whole in zip(size, resized, canvas, strict=True):
        margin = (whole - filled) // 2
        axes.append((_squares(whole // tower.image_size, tower) - margin) * length / filled)
    patches = torch.arange(len(axes[0]) * len(axes[1])).view(1, len(axes[0]), len(axes[1]))
    kept = unpad_image(patches, size)[0]
    rows, cols = axes[0][kept[:, 0] // len(axes[1])], axes[1][kept[0] % len(axes[1])]
    squares = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
    ratio = sqrt(len(rows) * len(cols) / (squares * (tower.image_size // tower.patch_size) ** 2))
    if ratio > SHRUNK_ABOVE:
        rows, cols = (_shrunk(spans, int(len(spans) // ratio)) for spans in (rows, cols))
    return View(rows, cols)


def _shrunk(spans: Spans, count: int) -> Float[np.ndarray, "part 2"]:
    """A row of patches divided into ``count`` equal parts, which may begin and end within a patch."""
    cuts = np.linspace(0, len(spans), count + 1)
    first, last = np.floor(cuts[:-1]).astype(int), np.ceil(cuts[1:]).astype(int) - 1
    px = np.diff(spans)[:, 0]
    starts, stops = spans[first, 0] + (cuts[:-1] - first) * px[first], spans[last, 0] + (cuts[1:] - last) * px[last]
    return np.stack([starts, stops], axis=1)
