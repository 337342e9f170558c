"""Contexts for models that know nothing: a picture of noise, random words, and roles where an experiment has them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finst.errors import FinstError
from finst.vlm.encode import Encoded
from finst.vlm.tokens import Role, TokenMap, View

TEXT_TOKENS = 34
"""Beside the picture's tokens, when nothing else is asked for: about what the paper's prompt has."""
SIDE = 14
"""Image tokens along a side, when nothing else is asked for and the architecture takes pictures of any size."""
SUFFIX = 10


def synthetic_contexts(
    config: Any, *, tokens: int | None, suffix: int, count: int, rng: np.random.Generator
) -> tuple[Encoded, ...]:
    """``count`` contexts of ``tokens`` tokens that differ in their pixels alone.

    First words, then the largest square picture that leaves room, then words again. The last ``suffix`` tokens begin
    with the colour and the noun of object 0 and end with the last token, as a scene's description does. ``tokens`` None
    is ``TEXT_TOKENS`` beside a picture of ``SIDE`` x ``SIDE`` or, where the architecture fixes it, of its own size.
    Raises FinstError for a suffix of fewer than three tokens and for contexts without room for picture and suffix.
    """
    if suffix < 3:
        raise FinstError(f"suffix is {suffix}: expected at least 3 tokens, for colour, noun and the last token")
    side = _side(config.vision_config, tokens, suffix)
    length = side * side + TEXT_TOKENS if tokens is None else tokens
    before = (length - suffix - side * side) // 2
    if side < 1 or before < 0:
        least = suffix + max(side, 1) ** 2
        raise FinstError(f"tokens is {length}: a picture and a suffix of {suffix} tokens need at least {least}")
    roles = _roles(length, side, before, suffix)
    ids = torch.from_numpy(rng.integers(0, config.image_token_id, length))
    ids[[role.kind == "image" for role in roles]] = config.image_token_id
    view = View.even((side, side), (0, 0, side, side))
    tokens_of = TokenMap(roles, (view,), coverage=np.zeros((0, side * side)))
    return tuple(Encoded(ids, _picture(config.vision_config, side, rng), tokens_of, "") for _ in range(count))


def _side(vision: Any, tokens: int | None, suffix: int) -> int:
    """Image tokens along each side of the picture."""
    if not _any_size(vision):
        return vision.image_size // vision.patch_size
    return SIDE if tokens is None else isqrt(max(tokens - suffix, 0))


def _any_size(vision: Any) -> bool:
    """Whether pictures keep their size (Qwen-VL), or all are resized to one (CLIP)."""
    return hasattr(vision, "spatial_merge_size")


def _roles(length: int, side: int, before: int, suffix: int) -> tuple[Role, ...]:
    image: Sequence[Role] = [Role("image", patch=divmod(patch, side)) for patch in range(side * side)]
    between = length - before - len(image) - suffix
    described = [Role("colour", 0), Role("noun", 0)]
    text = Role("text")
    return (*[text] * before, *image, *[text] * between, *described, *[text] * (suffix - 3), Role("last"))


def _picture(vision: Any, side: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """Normal noise in the place of normalised pixels, as the family's image processor would return it."""
    if not _any_size(vision):
        size = (1, 3, vision.image_size, vision.image_size)
        return {"pixel_values": torch.from_numpy(rng.standard_normal(size, dtype=np.float32))}
    patches = side * vision.spatial_merge_size
    size = (patches**2, vision.in_channels * vision.temporal_patch_size * vision.patch_size**2)
    pixels = torch.from_numpy(rng.standard_normal(size, dtype=np.float32))
    return {"pixel_values": pixels, "image_grid_thw": torch.tensor([[1, patches, patches]])}
