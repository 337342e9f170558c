"""The paper's scale, small: every pair once, in chunks, with progress."""

from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console

from finst.bench import paper as module
from finst.bench.paper import measured, paper
from finst.bench.spec import BenchPaper
from finst.bench.subject import of_shape
from finst.errors import FinstError
from tests.bench.tiny import TINY


def test_all_pairs_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = BenchPaper(tokens=50, device="cpu", pairs=5, inputs=2)
    subject = of_shape(TINY, spec)
    seen: list[list[float]] = []
    maps = module.maps

    def watched(subject, pairs, conditions):
        seen.append([round(float(pair[0].image_inputs["pixel_values"].double().sum()), 6) for pair in pairs])
        return maps(subject, pairs, conditions)

    monkeypatch.setattr(module, "maps", watched)
    printed = io.StringIO()
    result = measured(subject, spec, Console(file=printed))
    assert [len(chunk) for chunk in seen] == [2, 2, 1]
    assert len({pixels for chunk in seen for pixels in chunk}) == 5
    assert (result["pairs"], result["inputs"], result["runs"]) == (5, 2, 5 * 3 * 12)
    assert result["floor_share"] == pytest.approx(result["floor_s"] / result["seconds"])
    assert printed.getvalue().splitlines()[-1] == "3 of 3 units measured (pairs 4-4)"
    json.dumps(result)


def test_seconds_and_floors_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = BenchPaper(tokens=50, device="cpu", pairs=4, inputs=2, condition="selection")
    subject = of_shape(TINY, spec)
    costs = module.measured_costs(subject.vlm, subject.pair(0)[0])
    monkeypatch.setattr(module, "measured_costs", lambda *_: costs)
    elapsed = iter([1.0, 10.0])
    monkeypatch.setattr(module, "timed", lambda work, device: (work(), next(elapsed)))
    result = measured(subject, spec, Console(file=io.StringIO()))
    assert (result["seconds"], result["runs"]) == (11.0, 4 * 12)
    pairs = [subject.pair(0), subject.pair(1)]
    assert result["floor_s"] == pytest.approx(
        2 * module.floor_of(costs, pairs, module.conditions_of("selection")).seconds
    )


def test_bad_input() -> None:
    with pytest.raises(FinstError, match="pairs must be at least 1, not 0"):
        paper(BenchPaper(pairs=0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_on_a_gpu() -> None:
    spec = BenchPaper(tokens=50, device="cuda", pairs=3, inputs=2)
    result = measured(of_shape(TINY, spec), spec, Console(file=io.StringIO()))
    assert 0 < result["peak_bytes"] < torch.cuda.get_device_properties(0).total_memory
