"""How many tokens may walk together, and how much memory was taken."""

from __future__ import annotations

from collections.abc import Callable

import torch

from finst.engine.precision import at_least_float32
from finst.vlm.open import VLM

CPU_MEMORY_BYTES = 1 << 30


def allowed(vlm: VLM, max_memory: int | None) -> int:
    """``max_memory`` in bytes; None is 1 GiB on the CPU and half of what is free on a GPU, torch's cache included."""
    if max_memory is not None:
        return max_memory
    if vlm.device.type != "cuda":
        return CPU_MEMORY_BYTES
    cached = torch.cuda.memory_reserved(vlm.device) - torch.cuda.memory_allocated(vlm.device)
    return (torch.cuda.mem_get_info(vlm.device)[0] + cached) // 2


def token_budget(vlm: VLM, length: int, max_memory: int | None) -> int:
    """Tokens that may walk together: what the widest moment of a layer needs for each, with room to spare.

    At least 1. ``max_memory`` is as in ``allowed``. Split products (``finst.engine.precision``) hold a weight matrix
    and their input once more in parts of two bytes.
    """
    config = vlm.reader.config.get_text_config()
    hidden = (8 * config.hidden_size + 3 * config.intermediate_size) * vlm.dtype.itemsize
    attended = 4 * vlm.n_heads * vlm.d_head * at_least_float32(vlm.dtype).itemsize
    split = 2 * (vlm.parts * (vlm.parts + 1) // 2) * max(config.hidden_size, config.intermediate_size)
    return max(1, (allowed(vlm, max_memory) - split * config.hidden_size) // (hidden + attended + split))


def gauge(device: torch.device) -> Callable[[], int | None]:
    """Tells the most bytes that were held on the device at once from here on, above what is held now.

    None on the CPU, where nobody keeps count. One gauge a device at a time: a new one starts the count again.
    """
    if device.type != "cuda":
        return lambda: None
    torch.cuda.synchronize(device)
    held = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return lambda: torch.cuda.max_memory_allocated(device) - held
