"""Qwen3-VL: Qwen2-VL's patches and positions, norms on queries and keys, and DeepStack.

DeepStack (Meng et al. 2024, arXiv 2406.04334): features of some layers of the vision tower are added to the image
tokens between the first layers of the decoder. Site ``resid`` is a layer's output before this addition, as in
transformers' ``hidden_states``; the next layer's input is the sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.vision_utils import get_vision_interpolation_indices_and_weights

from finst.vlm.families.base import PROJECTIONS, DecoderInputs, Prepared
from finst.vlm.families.qwen2_vl import Qwen2VL


class Qwen3VL(Qwen2VL):
    """Checkpoints of ``Qwen3VLForConditionalGeneration`` (mixtures of experts are another architecture)."""

    model_types: tuple[str, ...] = ("qwen3_vl",)
    site_modules: Mapping[str, str] = MappingProxyType(
        {**PROJECTIONS, "q": "self_attn.q_norm", "k": "self_attn.k_norm"}
    )

    def render(self, user: str) -> str:
        """ChatML without a system message, as in the template of the published checkpoints."""
        return (
            f"<|im_start|>user\n<|vision_start|>{self.image_placeholder}<|vision_end|>{user}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )

    def prepare(
        self,
        model: Any,
        input_ids: Int[Tensor, "context pos"],
        image_inputs: Sequence[Mapping[str, Tensor]],
        device: torch.device,
    ) -> Prepared:
        """As for Qwen2-VL, with each patch's place on the grid of learned positions."""
        prepared = super().prepare(model, input_ids, image_inputs, device)
        tower = model.model.visual
        indices, weights = get_vision_interpolation_indices_and_weights(
            torch.from_numpy(prepared.sizes["image_grid_thw"]),
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=tower.spatial_merge_size,
        )
        places = {"interp_indices": indices.to(device), "interp_weights": weights.to(device)}
        return replace(prepared, pictures={**prepared.pictures, **places})

    def features(self, model: Any, prepared: Prepared) -> Sequence[Float[Tensor, "patch parts_d_model"]]:
        """Features of ``Qwen3VLVisionModel``'s last layer, followed by those of its DeepStack layers."""
        seen = self._tower_output(model, prepared)
        return [torch.cat([_of_all_pictures(part) for part in (seen.pooler_output, *seen.deepstack_features)], dim=-1)]

    def decoder_arguments(self, model: Any, inputs: DecoderInputs) -> Mapping[str, Any]:
        """The DeepStack features and a mask that selects whole contexts: selecting tokens would wait for the GPU."""
        if not inputs.additions:
            return {}
        contexts = torch.arange(len(inputs.embeds), device=inputs.embeds.device)
        return {"visual_pos_masks": contexts, "deepstack_visual_embeds": list(inputs.additions)}


def _of_all_pictures(features: Tensor | Sequence[Tensor]) -> Tensor:
    """The features of all pictures: transformers 5.17 returns them in one tensor, 5.23 in one tensor per picture."""
    return features if isinstance(features, Tensor) else torch.cat(tuple(features))
