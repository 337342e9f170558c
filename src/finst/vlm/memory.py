"""Whether weights fit into a device's memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from finst.errors import FinstError

GIB = 1 << 30


def weights_of(model: Any) -> int:
    """The number of weights of a model, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def free_bytes(device: torch.device) -> int:
    """The free memory of a device in bytes; of a GPU with what torch keeps in reserve."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) << 10


def check_room(name: str, model: Any, dtype: torch.dtype, device: torch.device) -> None:
    """Raises FinstError when the weights alone take more than the free memory of the device."""
    needed, free = weights_of(model) * dtype.itemsize, free_bytes(device)
    if needed > free:
        raise FinstError(f"{name}: {too_little(needed, str(dtype).removeprefix('torch.'), str(device), free)}")


def too_little(needed: int, dtype: str, device: str, free: int) -> str:
    """The sentence about weights of ``needed`` bytes for which ``free`` ones are too few."""
    return (
        f"its weights take {needed / GIB:.1f} GiB in {dtype}, and {device} has {free / GIB:.1f} GiB free, "
        f"{(needed - free) / GIB:.1f} GiB too few: expected a shorter dtype or another device"
    )
