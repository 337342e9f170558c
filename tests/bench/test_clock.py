"""Time, peak memory and names of devices."""

from __future__ import annotations

import pytest
import torch

from finst.bench.clock import device_name, timed, weighed

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
