"""Idefics2 and its chatty variant: a perceiver turns any number of patches into a fixed number of image tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

from finst.errors import FinstError
from finst.vlm.families.base import PROJECTIONS, Family, Pixels, Prepared, check_decoder, check_size, counted
from finst.vlm.to_device import cat_to_device
from finst.vlm.tokens import Role, View

FAKE = "<fake_token_around_image>"


class Idefics2(Family):
    """Checkpoints of ``Idefics2ForConditionalGeneration``; pictures are not split into quarters.

    Image tokens have no place in the picture: each of them attends to all patches.
    """

    model_types: tuple[str, ...] = ("idefics2",)
    image_placeholder: str = "<image>"
    image_processors: tuple[str, ...] = ("Idefics2",)
    site_modules: Mapping[str, str] = PROJECTIONS

    def render(self, user: str) -> str:
        """The format on the model card, also that of the chatty variant."""
        return f"User:{self.image_placeholder}{user}<end_of_utterance>\nAssistant:"

    def load_image_processor(self, folder: Path) -> Idefics2ImageProcessorPil:
        """Idefics2's own image processor."""
        return Idefics2ImageProcessorPil.from_pretrained(folder)

    def check(self, config: Any, image_processor: Idefics2ImageProcessorPil) -> None:
        """Raises FinstError for another decoder and for pictures that may come out smaller than a patch."""
        check_decoder(config, "mistral", "Idefics2")
        size, patch = image_processor.size or {}, config.vision_config.patch_size
        if not image_processor.do_resize or (size.get("shortest_edge") or 0) < patch or not size.get("longest_edge"):
            raise FinstError(
                "the image processor does not fit Idefics2's vision tower: expected do_resize with a longest_edge and "
                f"a shortest_edge of at least {patch} px"
            )

    def pixels(self, config: Any, image_processor: Any, image: UInt8[np.ndarray, "height width 3"]) -> Pixels:
        """``pixel_values`` [1, 1, 3, high, wide] and ``pixel_attention_mask`` [1, 1, high, wide].

        No side may be shorter than a patch.
        """
        patch, latents = config.vision_config.patch_size, config.perceiver_config.resampler_n_latents
        check_size(image, patch, "Idefics2")
        inputs = image_processor(
            images=[image], do_image_splitting=False, return_tensors="pt", input_data_format="channels_last"
        )
        height, width = image.shape[:2]
        high, wide = inputs["pixel_values"].shape[-2:]
        seen = (0, 0, width * (wide // patch * patch) / wide, height * (high // patch * patch) / high)
        return Pixels(
            dict(inputs),
            (View.even((1, 1), seen),),
            (Role("image"),) * latents,
            # Words after an added token begin with a space, which Llama's tokenizers do not add by themselves.
            around=(FAKE, f"{FAKE} "),
            unplaced=f"Idefics2's perceiver mixes all patches into each of its {latents} image tokens",
        )

    def prepare(
        self,
        model: Any,
        input_ids: Int[Tensor, "context pos"],
        image_inputs: Sequence[Mapping[str, Tensor]],
        device: torch.device,
    ) -> Prepared:
        """Contexts with positions 0, 1, 2, ...; raises FinstError for pictures of different sizes after resizing."""
        values = [inputs["pixel_values"].flatten(0, 1) for inputs in image_inputs]
        sizes = sorted({tuple(value.shape[-2:]) for value in values})
        if len(sizes) > 1:
            raise FinstError(
                "Idefics2 keeps the shape of pictures, and these have different sizes after resizing, "
                f"{' and '.join(f'{wide}x{high}' for high, wide in sizes)} px: expected pictures of one size in a batch"
            )
        pictures = {"pixel_values": cat_to_device(values, device)}
        return Prepared(input_ids.to(device), counted(input_ids, device), pictures, {})

    def features(self, model: Any, prepared: Prepared) -> Sequence[Float[Tensor, "latent d_model"]]:
        """Features of the tower, through the perceiver.

        The modules are called one by one: transformers' own method reads from the GPU whether patches are padding.
        """
        connector = model.model.connector
        context = connector.modality_projection(patch_features(model, prepared.pictures["pixel_values"]))
        resampler = connector.perceiver_resampler
        latents = resampler.latents.expand(len(context), -1, -1)
        for layer in resampler.layers:
            latents = layer(latents, context, attention_mask=None)
        return tuple(resampler.norm(latents))

    def decoder(self, model: Any) -> nn.Module:
        """``MistralModel``."""
        return model.model.text_model


def patch_features(
    model: Any, pixel_values: Float[Tensor, "picture 3 high wide"]
) -> Float[Tensor, "picture patch d_vision"]:
    """Patch features of pictures without padding, from the vision tower of any Idefics model."""
    tower, patch = model.model.vision_model, model.config.vision_config.patch_size
    pictures, _, high, wide = pixel_values.shape
    everything = torch.ones(pictures, high // patch, wide // patch, dtype=torch.bool, device=pixel_values.device)
    embedded = tower.embeddings(pixel_values.to(model.dtype), patch_attention_mask=everything)
    return tower.post_layernorm(tower.encoder(inputs_embeds=embedded, attention_mask=None).last_hidden_state)
