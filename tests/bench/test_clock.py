"""Time, peak memory, names and rates of devices: rates are work divided by time."""

from __future__ import annotations

import pytest
import torch

from finst.bench import clock
from finst.bench.clock import device_name, measured_peaks, timed, weighed

CPU = torch.device("cpu")


def test_seconds_are_those_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([3.0, 5.5])
    monkeypatch.setattr("finst.bench.clock.time.perf_counter", lambda: next(times))
    assert timed(lambda: "done", CPU) == ("done", 2.5)


def test_the_cpu_has_no_peak_memory() -> None:
    assert weighed(lambda: "done", CPU) == ("done", None)
    assert device_name(CPU) == "cpu, 1 threads"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_peak_memory_on_a_gpu() -> None:
    gpu = torch.device("cuda")
    kept = torch.empty(1 << 20, dtype=torch.uint8, device=gpu)
    _, peak = weighed(lambda: torch.zeros(1 << 24, dtype=torch.uint8, device=gpu) + kept[0], gpu)
    assert peak is not None
    assert (2 << 24) <= peak < (2 << 24) + (1 << 21)


def test_the_best_size_gives_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger matrices are multiplied at a higher rate, until a product takes long enough."""
    monkeypatch.setattr(clock, "_median_s", lambda work, device: {256: 0.001, 512: 0.004, 1024: 0.02}[work().shape[0]])
    monkeypatch.setattr(clock, "_copy_rate", lambda device: 1.0)
    assert measured_peaks(CPU, torch.float32).flops_per_s == 2 * 1024**3 / 0.02


def test_a_copy_reads_and_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_median_s", lambda work, device: 0.5)
    monkeypatch.setattr(clock, "_product_rate", lambda device, dtype: 1.0)
    assert measured_peaks(CPU, torch.float32).bytes_per_s == 2 * (1 << 27) / 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rates_of_this_machine(dtype: torch.dtype) -> None:
    rates = measured_peaks(CPU, dtype)
    assert 1e8 < rates.flops_per_s < 1e15
    assert 1e8 < rates.bytes_per_s < 1e13
