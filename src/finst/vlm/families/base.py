"""What finst needs to know about an architecture, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from finst.errors import FinstError
from finst.vlm.tokens import Role, View, Window


@dataclass(frozen=True, eq=False)
class Pixels:
    """A picture as the vision tower takes it."""

    inputs: dict[str, Tensor]
    views: tuple[View, ...]
    """The grids of image tokens, after merging, and where on the picture they lie."""
    roles: tuple[Role, ...]
    """Of each image token, in order: its patch, or ``template`` where it stands for no part of the picture."""
    around: tuple[str, str] = ("", "")
    """What the text has before and after the image tokens, beyond what the conversation's template writes."""
    unplaced: str = ""
    """Why no image token shows a place of its own; empty where each does."""


def seen_once(
    inputs: dict[str, Tensor], grid: tuple[int, int], window: Window, around: tuple[str, str] = ("", "")
) -> Pixels:
    """A picture, or a window of it, as one grid of equal patches."""
    return Pixels(inputs, (View.even(grid, window),), grid_roles(grid), around)


def grid_roles(grid: tuple[int, int], view: int = 0) -> tuple[Role, ...]:
    """The roles of a grid's image tokens, in reading order."""
    return tuple(Role("image", patch=divmod(patch, grid[1]), view=view) for patch in range(grid[0] * grid[1]))


def check_size(image: UInt8[np.ndarray, "height width 3"], least: int, name: str) -> None:
    """Raises FinstError for a picture that is smaller than a patch of ``least`` px."""
    height, width = image.shape[:2]
    if min(height, width) < least:
        raise FinstError(
            f"a picture of {width}x{height} px does not suit {name}: expected at least {least} px, the side of a "
            "patch, both ways"
        )


def check_decoder(config: Any, expected: str, name: str) -> None:
    """Raises FinstError for a text model other than the one that ``name`` is published with."""
    found = config.get_text_config().model_type
    if found != expected:
        raise FinstError(
            f"{name} with the text model {found!r} is not read: expected {expected!r}, whose projections are known to "
            "have no norm before the rotary positions"
        )


Blocks = tuple[tuple[int, int], ...]
"""Runs of tokens [start, stop) that see each other, later ones included; every other token sees no later one."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Contexts on the device, and all that Python has to know about them: what follows is kernels only."""

    input_ids: Int[Tensor, "context pos"]
    position_ids: Int[Tensor, "*axis context pos"]
    """As the decoder takes them: counted along several axes in some architectures."""
    pictures: Mapping[str, Tensor]
    """What the vision tower takes, on the device."""
    sizes: Mapping[str, np.ndarray]
    """What the vision tower's Python reads, off the device: reading it there would make a GPU wait every time."""
    blocks: Blocks = ()
    """The same in all contexts."""


@dataclass(frozen=True, eq=False)
class DecoderInputs:
    """What the decoder is called with: image features in place, positions explicit."""

    embeds: Float[Tensor, "context pos d_model"]
    position_ids: Int[Tensor, "*axis context pos"]
    additions: tuple[Float[Tensor, "context pos d_model"], ...] = ()
    """What is added to the output of the first layers, layer by layer, before the next one gets it."""
    blocks: Blocks = ()


PROJECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "attn_out": "self_attn.o_proj",
        "mlp_out": "mlp",
    }
)
"""``site_modules`` of decoders that put rotary positions on what their projections return, with no norm in between."""


@runtime_checkable
class Family(Protocol):
    """One architecture. Implementations hold no state; checkpoints come as arguments.

    They inherit from this class, for what most architectures have in common.
    """

    model_types: tuple[str, ...]
    """The values of ``config.model_type`` that it reads."""

    image_placeholder: str
    """The token in rendered text that stands for the picture, once."""

    image_token: str = ""
    """How one token of the picture is written; as ``image_placeholder`` where empty."""

    site_modules: Mapping[str, str]
    """Where in a decoder layer ``q`` and ``k`` (both before rotary positions), ``v``, ``attn_out`` and ``mlp_out`` are.

    Paths of modules whose output is [context, pos, ...], with the heads, where the site has any, side by side. Norms
    that follow what is named here (some architectures norm what attention and MLP return) are not part of the site.
    """

    heads_first: Collection[str] = ()
    """Sites whose modules return [context, head, pos, d_head] instead."""

    def render(self, user: str) -> str:
        """The checkpoint's conversation format, for tokenizers that bring no template of their own.

        One picture and ``user`` in the user's turn, then the opening of the assistant's turn.
        """
        ...

    def load_image_processor(self, folder: Path) -> Any:
        """The image processor in its PIL form, which needs no torchvision."""
        ...

    def check(self, config: Any, image_processor: Any) -> None:
        """Raises FinstError for a checkpoint of this ``model_type`` that the family does not read, with the reason."""
        ...

    def pixels(self, config: Any, image_processor: Any, image: UInt8[np.ndarray, "height width 3"]) -> Pixels:
        """Resized, normalised and cut into patches. Raises FinstError for a picture that the family cannot take."""
        ...

    def prepare(
        self,
        model: Any,
        input_ids: Int[Tensor, "context pos"],
        image_inputs: Sequence[Mapping[str, Tensor]],
        device: torch.device,
    ) -> Prepared:
        """Computes positions and sizes from tokens and pictures (both off the device) and puts all on ``device``."""
        ...

    def features(self, model: Any, prepared: Prepared) -> Sequence[Float[Tensor, "patch parts_d_model"]]:
        """One pass of the vision tower over all pictures, by kernels alone.

        Behind the d_model entries that an image token is embedded by, there may be d_model more for each of the first
        layers: what is added to their output at that token.
        """
        ...

    def decoder_arguments(self, model: Any, inputs: DecoderInputs) -> Mapping[str, Any]:
        """What the decoder is called with beside embeddings and positions, for additions and blocks."""
        return {}

    def decoder(self, model: Any) -> nn.Module:
        """The text model: has ``layers`` (with ``self_attn.o_proj``) and ``norm``."""
        ...


def counted(input_ids: Int[Tensor, "context pos"], device: torch.device) -> Int[Tensor, "context pos"]:
    """Positions 0, 1, 2, ... on ``device``."""
    return torch.arange(input_ids.shape[1], device=device).expand(len(input_ids), -1)


def decoder_inputs(family: Family, model: Any, prepared: Prepared) -> DecoderInputs:
    """Token embeddings, with the pictures' features in the places of the image tokens, in order; and positions."""
    embeds = model.get_input_embeddings()(prepared.input_ids)
    is_image = (prepared.input_ids == model.config.image_token_id)[..., None]
    features = torch.cat(tuple(family.features(model, prepared))).to(embeds.device, embeds.dtype)
    seen, *added = features.split(embeds.shape[-1], dim=-1)
    additions = tuple(torch.zeros_like(embeds).masked_scatter(is_image, part) for part in added)
    return DecoderInputs(embeds.masked_scatter(is_image, seen), prepared.position_ids, additions, prepared.blocks)
