"""Peak rates are work divided by time, for products and for copies."""

from __future__ import annotations

import pytest
import torch

from finst.bench import peaks
from finst.bench.peaks import measured_peaks

CPU = torch.device("cpu")


def test_the_best_size_gives_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger matrices are multiplied at a higher rate, until a product takes long enough."""
    monkeypatch.setattr(peaks, "_median_s", lambda work, device: {256: 0.001, 512: 0.004, 1024: 0.02}[work().shape[0]])
    monkeypatch.setattr(peaks, "_copy_rate", lambda device: 1.0)
    assert measured_peaks(CPU, torch.float32).flops_per_s == 2 * 1024**3 / 0.02


def test_a_copy_reads_and_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_median_s", lambda work, device: 0.5)
    monkeypatch.setattr(peaks, "_product_rate", lambda device, dtype: 1.0)
    assert measured_peaks(CPU, torch.float32).bytes_per_s == 2 * (1 << 27) / 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rates_of_this_machine(dtype: torch.dtype) -> None:
    rates = measured_peaks(CPU, dtype)
    assert 1e8 < rates.flops_per_s < 1e15
    assert 1e8 < rates.bytes_per_s < 1e13
