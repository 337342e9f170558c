"""The benchmark measures what it says, on a model small enough to wait for."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path

import pytest

from finst import bench
from finst.bench import BenchSweep, sweep
from finst.errors import FinstError
from tests.tiny import Body, checkpoint

KEYS = ["model", "device", "dtype", "tokens", "heads", "ours_s", "hooks_s", "nnsight_s"]
KEYS += ["ratio_hooks", "ratio_nnsight", "max_abs_error"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("tiny"), Body(layers=2, heads=2, kv_heads=1)))


def test_all_engines_in_one_run(model: str) -> None:
    result = sweep(BenchSweep(model, device="cpu", repeats=2))
    assert list(result) == KEYS
    assert (result["model"], result["dtype"], result["heads"]) == (model, "float32", 4)
    assert result["device"].startswith("cpu, 1 threads")
    assert result["tokens"] > 100
    assert result["max_abs_error"] < 1e-4
    assert result["ratio_hooks"] == pytest.approx(result["hooks_s"] / result["ours_s"])
    assert result["ratio_nnsight"] == pytest.approx(result["nnsight_s"] / result["ours_s"])
    json.dumps(result)


def test_without_nnsight(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == "nnsight" else util.find_spec(name))
    result = sweep(BenchSweep(model, device="cpu", dtype="float64", repeats=1))
    assert list(result) == KEYS
    assert (result["nnsight_s"], result["ratio_nnsight"]) == (None, None)
    assert result["max_abs_error"] < 1e-9


def test_bad_input(model: str, tmp_path: Path) -> None:
    with pytest.raises(FinstError, match="repeats must be at least 1, not 0"):
        sweep(BenchSweep(model, repeats=0))
    with pytest.raises(FinstError, match=r"has no config\.json"):
        sweep(BenchSweep(str(tmp_path)))
