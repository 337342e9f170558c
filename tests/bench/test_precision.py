"""Formats are compared on the same weights and the same map."""

from __future__ import annotations

import json

import pytest
import torch

from finst.bench import precision as module
from finst.bench.precision import measured, precision
from finst.bench.spec import BenchPrecision
from finst.bench.subject import of_shape
from finst.errors import FinstError
from tests.bench.tiny import TINY


def test_differences_are_those_of_the_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = BenchPrecision(tokens=50, device="cpu", inputs=2)
    subject = of_shape(TINY, BenchPrecision(tokens=50, device="cpu", dtype="bfloat16"))
    used: list[tuple[torch.dtype, torch.Tensor]] = []
    maps = module.maps

    def watched(subject, pairs, conditions):
        weight = subject.vlm.layers[0].self_attn.q_proj.weight
        used.append((weight.dtype, weight.double().clone()))
        return maps(subject, pairs, conditions)

    monkeypatch.setattr(module, "maps", watched)
    result = measured(subject, spec)
    assert [dtype for dtype, _ in used] == [torch.bfloat16, torch.float32, torch.float64]
    assert all(torch.equal(weight, used[0][1]) for _, weight in used)
    assert (result["dtype"], result["scores"]) == ("float32", 2 * 3 * 12)
    coarse, fine = (result["differences"][name] for name in ("bfloat16", "float64"))
    assert 0 < fine["largest"] < 1e-5
    assert 100 * fine["largest"] < coarse["largest"] < 0.2
    assert all(0 < errors["root_mean_square"] < errors["largest"] for errors in (coarse, fine))
    json.dumps(result)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bfloat16"}, "formats are compared with float32"),
        ({"formats": ("float16",)}, "unknown format to compare 'float16': expected one of bf16x3"),
        ({"formats": ("bf16x3",), "device": "cpu"}, "'bf16x3' is for CUDA devices"),
    ],
)
def test_refusals(options: dict, message: str) -> None:
    with pytest.raises(FinstError, match=message):
        precision(BenchPrecision(**options))
