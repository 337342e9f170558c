"""The most memory that this process has held, in bytes."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


def forget_peaks() -> None:
    """Begins a new peak of host memory, where the system can (Linux), and of the GPUs."""
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(index)


def host_peak() -> int:
    """The peak of host memory since ``forget_peaks``; of the whole process where the system keeps no other."""
    with suppress(OSError, StopIteration):
        lines = (_PROCESS / "status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) << 10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def gpu_peak(device: torch.device) -> int | None:
    """The peak of what torch holds on a GPU since ``forget_peaks``, weights included; None on the CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
