"""From numpy to a model's device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def sent(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on ``device``; a GPU gets it in its turn, and nobody waits for what it still computes."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
