"""What finst needs to know about an architecture, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Pixels:
    """A picture as the vision tower takes it."""

    inputs: dict[str, Tensor]
    grid: tuple[int, int]
    """Rows and columns of image tokens, after merging; the whole picture is stretched over them."""


@dataclass(frozen=True, eq=False)
class DecoderInputs:
    """What the decoder is called with: image features in place, positions explicit."""

    embeds: Float[Tensor, "context pos d_model"]
    position_ids: Int[Tensor, "axis context pos"]


@runtime_checkable
class Family(Protocol):
    """One architecture. Implementations hold no state; checkpoints come as arguments."""

    model_types: tuple[str, ...]
    """The values of ``config.model_type`` that it reads."""

    image_placeholder: str
    """The token in rendered text that stands for the picture, once."""

    site_modules: Mapping[str, str]
    """Where in a decoder layer ``q`` and ``k`` (both before rotary positions), ``v``, ``attn_out`` and ``mlp_out`` are.

    Paths of modules whose output is [context, pos, ...], with the heads, where the site has any, side by side.
    """

    def render(self, user: str) -> str:
        """The checkpoint's conversation format, for tokenizers that bring no template of their own.

        One picture and ``user`` in the user's turn, then the opening of the assistant's turn.
        """
        ...

    def load_image_processor(self, folder: Path) -> Any:
        """The image processor in its PIL form, which needs no torchvision."""
        ...

    def pixels(self, image_processor: Any, image: UInt8[np.ndarray, "height width 3"]) -> Pixels:
        """Resized, normalised and cut into patches. Raises FinstError for a picture that the family cannot take."""
        ...

    def decoder_inputs(
        self, model: Any, input_ids: Int[Tensor, "context pos"], image_inputs: Sequence[Mapping[str, Tensor]]
    ) -> DecoderInputs:
        """Runs the vision tower once over all pictures and computes the positions from the tokens."""
        ...

    def decoder(self, model: Any) -> nn.Module:
        """The text model: has ``layers`` (with ``self_attn.o_proj``) and ``norm``."""
        ...
