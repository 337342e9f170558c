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
    """A picture as input of the vision tower, and the layout of its image tokens."""

    inputs: dict[str, Tensor]
    views: tuple[View, ...]
    """The grids of image tokens, after merging, and their places on the picture."""
    roles: tuple[Role, ...]
    """The role of each image token, in order: its patch, or ``template`` if it shows no part of the picture."""
    around: tuple[str, str] = ("", "")
    """Text before and after the image tokens that the conversation's template does not contain."""
    unplaced: str = ""
    """The reason why image tokens have no place in the picture; empty where they have one."""


def seen_once(
    inputs: dict[str, Tensor], grid: tuple[int, int], window: Window, around: tuple[str, str] = ("", "")
) -> Pixels:
    """``Pixels`` of a picture, or of a window of it, that is one grid of equal patches."""
    return Pixels(inputs, (View.even(grid, window),), grid_roles(grid), around)


def grid_roles(grid: tuple[int, int], view: int = 0) -> tuple[Role, ...]:
    """The roles of a grid's image tokens, in reading order."""
    return tuple(Role("image", patch=divmod(patch, grid[1]), view=view) for patch in range(grid[0] * grid[1]))


def check_size(image: UInt8[np.ndarray, "height width 3"], least: int, name: str) -> None:
    """Raises FinstError for a picture with a side shorter than ``least`` px, the side of a patch."""
    height, width = image.shape[:2]
    if min(height, width) < least:
        raise FinstError(
            f"a picture of {width}x{height} px does not suit {name}: expected at least {least} px, the side of a "
            "patch, both ways"
        )


def check_decoder(config: Any, expected: str, name: str) -> None:
    """Raises FinstError for a text model other than the one of the published checkpoints of ``name``."""
    model_type = config.get_text_config().model_type
    if model_type != expected:
        raise FinstError(
            f"{name} with the text model {model_type!r} is not supported: expected {expected!r}, which has no norms "
            "between its projections and the rotary embedding"
        )


Blocks = tuple[tuple[int, int], ...]
"""Runs of tokens [start, stop) that see each other, later ones included; no other token sees a later one."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Contexts on the device, and all that Python needs to know about them; the passes after it only launch kernels."""

    input_ids: Int[Tensor, "context pos"]
    position_ids: Int[Tensor, "*axis context pos"]
    """Positions as the decoder takes them; some architectures count along several axes."""
    pictures: Mapping[str, Tensor]
    """The vision tower's inputs, on the device."""
    sizes: Mapping[str, np.ndarray]
    """Arrays that the vision tower's Python code reads, on the CPU: reading them from a GPU would wait for it."""
    blocks: Blocks = ()
    """Tokens that see each other, the same in all contexts."""


@dataclass(frozen=True, eq=False)
class DecoderInputs:
    """The decoder's inputs: embeddings, image features included, and explicit positions."""

    embeds: Float[Tensor, "context pos d_model"]
    position_ids: Int[Tensor, "*axis context pos"]
    additions: tuple[Float[Tensor, "context pos d_model"], ...] = ()
    """Image features that are added to the output of the first layers, one tensor a layer."""
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
"""``site_modules`` of decoders without norms between the projections and the rotary embedding."""


@runtime_checkable
class Family(Protocol):
    """One architecture. Implementations hold no state; checkpoints are passed as arguments.

    They inherit from this class what most architectures have in common.
    """

    model_types: tuple[str, ...]
    """The values of ``config.model_type`` that the family reads."""

    image_placeholder: str
    """The token that stands for the picture, once, in rendered text."""

    image_token: str = ""
    """The text of one image token; empty if it is ``image_placeholder``."""

    site_modules: Mapping[str, str]
    """Paths, in a decoder layer, of the modules whose output is ``q``, ``k``, ``v``, ``attn_out`` and ``mlp_out``.

    ``q`` and ``k`` are taken before the rotary embedding. Outputs are [context, pos, ...], with the heads (at sites
    that have any) concatenated. Norms after these modules, which some architectures apply to the output of attention
    and MLP, are not part of the site.
    """

    opened: bool = False
    """Whether the tokenizer's first token (``bos_token``) precedes ``render``'s text, added by the tokenizer or not."""

    image_processors: tuple[str, ...] = ()
    """The classes of image processors that the family's checkpoints name, without ``ImageProcessor``; empty for any."""

    heads_first: Collection[str] = ()
    """Sites whose modules return [context, head, pos, d_head] instead."""

    def render(self, user: str) -> str:
        """The checkpoint's conversation format, for tokenizers without a chat template.

        One picture and ``user`` in the user's turn, then the opening of the assistant's turn.
        """
        ...

    def load_image_processor(self, folder: Path) -> Any:
        """The image processor in its PIL form, which needs no torchvision."""
        ...

    def check(self, config: Any, image_processor: Any) -> None:
        """Raises FinstError, with the reason, for a checkpoint of this ``model_type`` that the family does not read."""
        ...

    def pixels(self, config: Any, image_processor: Any, image: UInt8[np.ndarray, "height width 3"]) -> Pixels:
        """The picture resized, normalised and cut into patches. Raises FinstError for a picture that does not suit."""
        ...

    def prepare(
        self,
        model: Any,
        input_ids: Int[Tensor, "context pos"],
        image_inputs: Sequence[Mapping[str, Tensor]],
        device: torch.device,
    ) -> Prepared:
        """Computes positions and sizes from tokens and pictures (all on the CPU) and copies them to ``device``."""
        ...

    def features(self, model: Any, prepared: Prepared) -> Sequence[Float[Tensor, "patch parts_d_model"]]:
        """One pass of the vision tower over all pictures, without waiting for the GPU.

        The first d_model entries are an image token's embedding. Further d_model entries for each of the first layers
        may follow: they are added to the layer's output at that token.
        """
        ...

    def decoder_arguments(self, model: Any, inputs: DecoderInputs) -> Mapping[str, Any]:
        """Keyword arguments of the decoder beside embeddings and positions, for additions and blocks."""
        return {}

    def decoder(self, model: Any) -> nn.Module:
        """The text model: has ``layers`` (with ``self_attn.o_proj``) and ``norm``."""
        ...


def counted(input_ids: Int[Tensor, "context pos"], device: torch.device) -> Int[Tensor, "context pos"]:
    """Positions 0, 1, 2, ... on ``device``."""
    return torch.arange(input_ids.shape[1], device=device).expand(len(input_ids), -1)


def decoder_inputs(family: Family, model: Any, prepared: Prepared) -> DecoderInputs:
    """Token embeddings, with the pictures' features at the image tokens, in order; and positions."""
    embeds = model.get_input_embeddings()(prepared.input_ids)
    is_image = (prepared.input_ids == model.config.image_token_id)[..., None]
    features = torch.cat(tuple(family.features(model, prepared))).to(embeds.device, embeds.dtype)
    seen, *added = features.split(embeds.shape[-1], dim=-1)
    additions = tuple(torch.zeros_like(embeds).masked_scatter(is_image, part) for part in added)
    return DecoderInputs(embeds.masked_scatter(is_image, seen), prepared.position_ids, additions, prepared.blocks)
