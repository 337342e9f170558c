"""Contexts for models with random weights: a picture of noise, random words, and the roles of an experiment."""

from __future__ import annotations

from math import isqrt

import numpy as np
import torch

from finst.errors import FinstError
from finst.vlm.encode import Encoded
from finst.vlm.families.base import Pixels
from finst.vlm.open import Reader
from finst.vlm.tokens import Role, TokenMap

TEXT_TOKENS = 34
"""Default number of tokens besides the picture's: about that of the paper's prompt."""
PICTURE_PX = 392
"""Default side of the picture, in px: that of the paper's 3x3 canvas."""
SUFFIX = 10
"""Default length of the suffix, in tokens."""


def synthetic_contexts(
    reader: Reader,
    *,
    tokens: int | None,
    suffix: int,
    count: int,
    rng: np.random.Generator,
    picture_px: int | None = None,
) -> tuple[Encoded, ...]:
    """``count`` contexts of ``tokens`` tokens that differ only in their pixels.

    A context is words, a square picture of ``picture_px`` px a side, and words again. The last ``suffix`` tokens begin
    with the colour and the noun of object 0 and end with the last token, as a scene's description does.

    ``tokens`` None is ``TEXT_TOKENS`` besides the picture. ``picture_px`` None is ``PICTURE_PX``; but where ``tokens``
    gives the length and the architecture keeps a picture's size (Qwen-VL), it is the largest that leaves room.
    ``reader`` needs no tokenizer. Raises FinstError for a suffix of fewer than three tokens, for contexts without room
    for picture and suffix, and for a picture that the family cannot take.
    """
    if suffix < 3:
        raise FinstError(f"suffix is {suffix}: expected at least 3 tokens, for colour, noun and the last token")
    px = picture_px or _largest_px(reader, tokens, suffix)
    pictures = [_noise(reader, px, rng) for _ in range(count)]
    first = pictures[0]
    length = len(first.roles) + TEXT_TOKENS if tokens is None else tokens
    before = (length - suffix - len(first.roles)) // 2
    if before < 0:
        least = suffix + len(first.roles)
        raise FinstError(f"tokens is {length}: a picture and a suffix of {suffix} tokens need at least {least}")
    ids = torch.from_numpy(rng.integers(0, reader.config.image_token_id, length))
    ids[before : before + len(first.roles)] = reader.config.image_token_id
    coverage = np.zeros((0, sum(view.areas.size for view in first.views)))
    token_map = TokenMap(_roles(first.roles, length, before, suffix), first.views, coverage, first.unplaced)
    return tuple(Encoded(ids, picture.inputs, token_map, "") for picture in pictures)


def _largest_px(reader: Reader, tokens: int | None, suffix: int) -> int:
    vision = reader.config.vision_config
    if tokens is None or not hasattr(vision, "spatial_merge_size"):
        return PICTURE_PX
    return max(1, isqrt(max(tokens - suffix, 0))) * vision.patch_size * vision.spatial_merge_size


def _noise(reader: Reader, px: int, rng: np.random.Generator) -> Pixels:
    picture = rng.integers(0, 256, (px, px, 3), dtype=np.uint8)
    return reader.family.pixels(reader.config, reader.image_processor, picture)


def _roles(picture: tuple[Role, ...], length: int, before: int, suffix: int) -> tuple[Role, ...]:
    between = length - before - len(picture) - suffix
    described = [Role("colour", 0), Role("noun", 0)]
    text = Role("text")
    return (*[text] * before, *picture, *[text] * between, *described, *[text] * (suffix - 3), Role("last"))
