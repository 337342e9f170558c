"""Seconds, bytes and names of devices."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from finst.engine.memory import gauge

ResultT = TypeVar("ResultT")


def timed(work: Callable[[], ResultT], device: torch.device) -> tuple[ResultT, float]:
    """What ``work`` returns and the seconds it takes, to the end of what it started on ``device``."""
    _wait(device)
    start = time.perf_counter()
    result = work()
    _wait(device)
    return result, time.perf_counter() - start


def weighed(work: Callable[[], ResultT], device: torch.device) -> tuple[ResultT, int | None]:
    """What ``work`` returns and the most memory that it held, in bytes; None on the CPU, where nobody keeps count."""
    peak = gauge(device)
    return work(), peak()


def device_name(device: torch.device) -> str:
    """As people know it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
