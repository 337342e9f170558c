"""Time and memory of work on a device, its name, and the rates that it reaches in large matrix products and copies."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch.nn import functional

from finst.bench.limits.floor import Peaks
from finst.engine.memory import gauge

ResultT = TypeVar("ResultT")

_LONG_ENOUGH_S = 0.01
"""Time of one product from which on larger matrices hardly give a higher rate."""
_LARGEST = 1 << 14
"""Largest side of a matrix."""
_COPIED_BYTES = {"cuda": 1 << 30, "cpu": 1 << 27}
"""Bytes of a copy: far more than caches hold."""
_REPEATS = 9


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


@torch.inference_mode()
def measured_peaks(device: torch.device, dtype: torch.dtype) -> Peaks:
    """The rates of linear layers (random square matrices in ``dtype``) and of a copy (read and write), as medians.

    For matrices it is the best over their sizes.
    """
    peaks = Peaks(_product_rate(device, dtype), _copy_rate(device))
    if device.type == "cuda":
        torch.cuda.empty_cache()  # otherwise the next measurement would have less memory
    return peaks


def _product_rate(device: torch.device, dtype: torch.dtype) -> float:
    best, size, seconds = 0.0, 256, 0.0
    while size <= _LARGEST and seconds < _LONG_ENOUGH_S:
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        seconds = _median_s(partial(functional.linear, left, right), device)
        best = max(best, 2 * size**3 / seconds)
        size *= 2
    return best


def _copy_rate(device: torch.device) -> float:
    count = _COPIED_BYTES[device.type]
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * count / _median_s(partial(target.copy_, source), device)


def _median_s(work: Callable[[], object], device: torch.device) -> float:
    work()
    return statistics.median(timed(work, device)[1] for _ in range(_REPEATS))
