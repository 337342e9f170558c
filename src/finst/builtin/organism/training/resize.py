"""Pillow's bicubic resizing of 8-bit pictures, for many of them at once and on any device, to the last bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

PRECISION = 1 << 22
"""Pillow rounds the weights of 8-bit pictures to multiples of 1 / PRECISION."""


@dataclass(frozen=True, eq=False)
class Taps:
    """Which pixels of a line make each pixel of the resized line."""

    index: Int[Tensor, "tap side"]
    weight: Float[Tensor, "tap side"]


def taps(length: int, side: int, device: torch.device | str) -> Taps:
    """Lines of ``length`` px resized to ``side`` px: what Pillow makes of lines with a single 1 in them."""
    impulses = Image.fromarray(np.eye(length, dtype=np.float32))
    weights = np.asarray(impulses.resize((side, length), Image.Resampling.BICUBIC)).T
    starts = (weights != 0).argmax(1)
    reach = int((weights != 0).sum(1).max())
    index = np.minimum(starts + np.arange(reach)[:, None], length - 1)
    used = starts + np.arange(reach)[:, None] < length
    chosen = np.where(used, np.take_along_axis(weights, index.T, 1).T, 0)
    weight = np.round(chosen.astype(np.float64) * PRECISION) / PRECISION
    return Taps(torch.from_numpy(index).to(device), torch.from_numpy(weight).to(device))


def resize(image: Float[Tensor, "image height width 3"], lines: Taps) -> Float[Tensor, "image side side 3"]:
    """Square pictures of whole grey levels: rows first, then columns, rounded after each as Pillow does.

    Sums of a few products in float64, where they are exact in any order, rather than a matrix product, which autocast
    or TF32 would round: so a compiler may fuse them as it likes.
    """
    return _along(_along(image, lines, 2), lines, 1)


def _along(image: Tensor, lines: Taps, axis: int) -> Tensor:
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    terms = (w.view(shape) * image.index_select(axis, i) for i, w in zip(lines.index, lines.weight, strict=True))
    whole = sum(terms, torch.full((), 0.5, dtype=torch.float64, device=image.device)).floor()
    return whole.clamp(0, 255).to(image.dtype)
