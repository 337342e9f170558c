"""Time and memory of work on a device, and the names of devices."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from finst.engine.memory import gauge

ResultT = TypeVar("ResultT")


def timed(work: Callable[[], ResultT], device: torch.device) -> tuple[ResultT, float]:
    """What ``work`` returns, and its seconds until everything that it started on ``device`` has ended."""
    _wait(device)
    start = time.perf_counter()
    result = work()
    _wait(device)
    return result, time.perf_counter() - start


def weighed(work: Callable[[], ResultT], device: torch.device) -> tuple[ResultT, int | None]:
    """What ``work`` returns, and its peak memory on ``device`` in bytes; None on the CPU, which keeps no record."""
    peak = gauge(device)
    return work(), peak()


def device_name(device: torch.device) -> str:
    """The name of a GPU; for a CPU its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
