"""The rates that a device reaches: a large matrix product, and a large copy."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from finst.bench.clock import timed
from finst.bench.floor import Peaks

_LONG_ENOUGH_S = 0.01
"""Time of one product from which on larger matrices hardly give a higher rate."""
_LARGEST = 1 << 14
"""Largest side of a matrix."""
_COPIED_BYTES = {"cuda": 1 << 30, "cpu": 1 << 27}
"""Bytes of a copy: far more than caches hold."""
_REPEATS = 9


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
