"""Memory: how many tokens fit into one walk, and how much memory was used."""

from __future__ import annotations

from collections.abc import Callable

import torch

from finst.engine.precision import at_least_float32
from finst.vlm.open import VLM

CPU_MEMORY_BYTES = 1 << 30


def allowed(vlm: VLM, max_memory: int | None) -> int:
    """``max_memory`` in bytes; None is 1 GiB on the CPU and half of a GPU's free memory (of several: the least)."""
    if max_memory is not None:
        return max_memory
    return min(map(free, vlm.devices)) // 2 if vlm.device.type == "cuda" else CPU_MEMORY_BYTES


def free(device: torch.device) -> int:
    """Bytes that are free on a GPU, torch's own cache included."""
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached


def walk_bytes(vlm: VLM, tokens: int) -> int:
    """Bytes that a walk of ``tokens`` tokens holds at its peak within a layer, estimated generously.

    Split products (``finst.engine.precision``) also hold a weight matrix and their input in parts of two bytes.
    """
    config = vlm.reader.config.get_text_config()
    hidden = (8 * config.hidden_size + 3 * config.intermediate_size) * vlm.dtype.itemsize
    attended = 4 * vlm.n_heads * vlm.d_head * at_least_float32(vlm.dtype).itemsize
    split = 2 * (vlm.parts * (vlm.parts + 1) // 2) * max(config.hidden_size, config.intermediate_size)
    return split * config.hidden_size + tokens * (hidden + attended + split)


def recording_bytes(vlm: VLM, tokens: int) -> int:
    """Bytes that a recording of ``tokens`` tokens in all keeps: every layer's input, z, keys and values."""
    config = vlm.reader.config.get_text_config()
    kept = config.hidden_size + (vlm.n_heads + 2 * vlm.n_kv_heads) * vlm.d_head
    return tokens * vlm.n_layers * kept * vlm.dtype.itemsize


def token_budget(vlm: VLM, max_memory: int | None) -> int:
    """Number of tokens that fit into one walk of ``max_memory`` bytes (None: see ``allowed``); at least 1."""
    once = walk_bytes(vlm, 0)
    return max(1, (allowed(vlm, max_memory) - once) // (walk_bytes(vlm, 1) - once))


def gauge(device: torch.device) -> Callable[[], int | None]:
    """A function that returns the peak of allocated bytes on the device since now, above those allocated now.

    It returns None on the CPU, where allocations are not counted. Use one gauge a device at a time: a new gauge resets
    the peak.
    """
    if device.type != "cuda":
        return lambda: None
    torch.cuda.synchronize(device)
    held = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return lambda: torch.cuda.max_memory_allocated(device) - held
