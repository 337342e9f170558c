"""The sweep over engines, on a model small enough for a test."""

from __future__ import annotations

import json
from importlib import util

import pytest
import torch

from finst.bench import maps as maps_module
from finst.bench.spec import BenchSweep, ConditionName
from finst.bench.subject import of_shape
from finst.bench.sweep import measured, sweep
from finst.errors import FinstError
from tests.bench.tiny import TINY
from tests.tiny import Body, checkpoint

KEYS = ["model", "device", "dtype", "tokens", "heads", "ours_s", "hooks_s", "nnsight_s"]
KEYS += ["ratio_hooks", "ratio_nnsight", "max_abs_error", "max_abs_effect", "condition", "inputs", "random_weights"]
KEYS += ["repeats", "rows", "loop_rows", "floor_s", "floor_share", "floor", "weights_bytes", "peak_bytes"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("tiny"), Body(layers=2, heads=2, kv_heads=1)))


def test_all_engines_in_one_run(model: str) -> None:
    result = sweep(BenchSweep(model, device="cpu", repeats=2))
    assert set(result) == set(KEYS)
    assert (result["model"], result["dtype"], result["heads"]) == (model, "float32", 4)
    assert result["device"].startswith("cpu, 1 threads")
    assert result["tokens"] > 100
    assert result["max_abs_error"] < 1e-4
    assert result["ratio_hooks"] == pytest.approx(result["hooks_s"] / result["ours_s"])
    assert result["ratio_nnsight"] == pytest.approx(result["nnsight_s"] / result["ours_s"])
    assert (result["rows"], result["loop_rows"], result["random_weights"]) == (13, 13, False)
    assert result["peak_bytes"] is None
    json.dumps(result)


def test_without_nnsight(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps_module, "find_spec", lambda name: None if name == "nnsight" else util.find_spec(name))
    result = sweep(BenchSweep(model, device="cpu", dtype="float64", repeats=1))
    assert set(result) == set(KEYS)
    assert (result["nnsight_s"], result["ratio_nnsight"]) == (None, None)
    assert result["max_abs_error"] < 1e-9


@pytest.mark.parametrize("condition", ["all", "retrieval", "selection", "feature"])
def test_a_shape_with_several_inputs_and_some_of_the_rows(condition: ConditionName) -> None:
    spec = BenchSweep(tokens=50, condition=condition, inputs=2, device="cpu", dtype="float64", repeats=1, loop_rows=8)
    result = measured(of_shape(TINY, spec), spec)
    assert (result["model"], result["random_weights"], result["condition"]) == ("tiny", True, condition)
    assert (result["tokens"], result["heads"], result["inputs"]) == (50, 12, 2)
    assert result["rows"] == 2 * (1 + 12 * (3 if condition == "all" else 1))
    assert result["loop_rows"] == 8
    assert result["max_abs_error"] < 1e-9
    assert result["max_abs_effect"] > 1e-3


def test_the_floor_in_the_report() -> None:
    spec = BenchSweep(tokens=50, device="cpu", repeats=1, engines=())
    subject = of_shape(TINY, spec)
    result = measured(subject, spec)
    assert result["floor_share"] == pytest.approx(result["floor_s"] / result["ours_s"])
    floor = result["floor"]
    assert result["floor_s"] == pytest.approx(floor["record_s"] + floor["walk_s"])
    assert 0 < floor["vision_s"] < floor["record_s"]
    assert result["floor_s"] >= floor["flops"] / floor["flops_per_s"]
    assert result["weights_bytes"] > 4 * sum(p.numel() for p in subject.vlm.model.parameters())
    for name in ("hooks_s", "nnsight_s", "ratio_hooks", "ratio_nnsight", "max_abs_error", "loop_rows"):
        assert result[name] is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_on_a_gpu() -> None:
    spec = BenchSweep(tokens=50, device="cuda", repeats=1)
    subject = of_shape(TINY, spec)
    result = measured(subject, spec)
    recorded = 3 * 50 * 32 * 4 * 3 * 3  # inputs, keys and values (of half the width each), z, float32
    assert recorded < result["peak_bytes"] < torch.cuda.get_device_properties(subject.vlm.device).total_memory
    assert result["max_abs_error"] < 1e-4


def test_bad_input(model: str) -> None:
    with pytest.raises(FinstError, match="repeats must be at least 1, not 0"):
        sweep(BenchSweep(model, repeats=0))
    with pytest.raises(FinstError, match=r"loop_rows must be 0 \(all rows\) or more, not -1"):
        sweep(BenchSweep(model, loop_rows=-1))
