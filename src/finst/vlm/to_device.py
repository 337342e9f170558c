"""Copies from the host's memory to a model's device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on ``device``. The copy to a GPU is queued, so the CPU does not wait for it."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def cat_to_device(
    parts: Sequence[Shaped[Tensor, "_ *rest"]], device: torch.device
) -> Shaped[Tensor, "all_parts *rest"]:
    """The tensors concatenated along their first axis, on ``device``; the copy to a GPU is queued."""
    if device.type != "cuda":
        return torch.cat(tuple(parts)).to(device)
    size = sum(len(part) for part in parts), *parts[0].shape[1:]
    whole = torch.empty(size, dtype=parts[0].dtype, pin_memory=True)
    torch.cat(tuple(parts), out=whole)
    return whole.to(device, non_blocking=True)
