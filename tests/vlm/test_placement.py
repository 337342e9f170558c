"""Placement of weights: device names, missing packages, and settings that exclude each other. Needs no GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from finst.errors import FinstError, PrecisionWarning
from finst.vlm import open as opening
from finst.vlm import placement as module
from finst.vlm.open import open_vlm
from finst.vlm.placement import placed
from finst.vlm.published import SHAPES


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(opening, "AutoModelForImageTextToText", SimpleNamespace(from_pretrained=refuse))


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two simulated GPUs of 40 GiB, on which no tensor can be placed."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (40 << 30, 40 << 30))


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)


def test_a_device_map_of_one_device_is_that_device(folder: Path) -> None:
    plain = open_vlm(str(folder), device="cpu")
    mapped = open_vlm(str(folder), device_map={"": "cpu"})
    assert (mapped.device, mapped.devices) == (plain.device, plain.devices)
    for ours, theirs in zip(mapped.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.usefixtures("gpus")
def test_layers_are_spread_evenly_and_never_cut() -> None:
    config = SHAPES["qwen2.5-vl-32b"].config()
    for place in (placed(config, "bfloat16", "auto", "auto"), placed(config, "bfloat16", "cuda:all")):
        assert place.device_map is not None
        assert "device_map" in place.arguments
        layers = [_device_of(place.device_map, f"model.language_model.layers.{layer}") for layer in range(64)]
        assert sorted(layers, key=str) == layers
        assert 24 <= layers.count(0) <= 40
        assert layers.count(0) + layers.count(1) == 64
        assert not any(".layers." in name and name.count(".") > 3 for name in place.device_map if "visual" not in name)


def _device_of(device_map: Mapping[str, Any], module_name: str) -> Any:
    return next(device for name, device in device_map.items() if module_name == name)


@pytest.mark.usefixtures("gpus", "no_weights")
def test_models_that_do_not_fit_are_refused() -> None:
    message = r"device_map leaves \d+ modules outside of the GPUs, beginning with .*: expected GPUs with memory for all"
    with pytest.raises(FinstError, match=message):
        placed(SHAPES["qwen2.5-vl-32b"].config(), "float32", "auto", "auto")
    for device_map in ({"model": 0, "lm_head": "cpu"}, {"model": "disk", "lm_head": "disk"}):
        with pytest.raises(FinstError, match=r"device_map leaves \d modules outside of the GPUs"):
            placed(None, "float32", "auto", device_map)


@pytest.mark.usefixtures("no_weights", "nothing_installed")
def test_missing_packages_are_named(folder: Path, gpus: None) -> None:
    with pytest.raises(FinstError, match=r"several devices need accelerate.*pip install 'finst\[multi-gpu\]'"):
        open_vlm(str(folder), device_map="auto")
    for dtype, quantization in (("bfloat16", "8bit"), ("4bit", None)):
        with pytest.raises(FinstError, match=r"bit weights need bitsandbytes.*pip install 'finst\[quantization\]'"):
            open_vlm(str(folder), dtype=dtype, quantization=quantization)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "3bit"}, "unknown quantization '3bit': expected one of 8bit, 4bit"),
        ({"quantization": "8bit", "dtype": "4bit"}, "unknown quantization '8bit'"),
        ({"quantization": "8bit", "device": "cpu"}, "8bit weights are for CUDA devices, not for 'cpu'"),
        ({"dtype": "4bit", "device": "cpu"}, "4bit weights are for CUDA devices, not for 'cpu'"),
        ({"device_map": "auto", "device": "cpu"}, "both the device 'cpu' and a device_map were given"),
        ({"device_map": {"": "tpu"}}, "device_map"),
        ({"revision": "v2"}, "no revision 'v2'"),
    ],
)
def test_settings_that_exclude_each_other(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(FinstError, match=message):
        open_vlm(str(folder), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_all_gpus_of_none(folder: Path) -> None:
    with pytest.raises(FinstError, match="'cuda:all' is not there: this machine has no CUDA device"):
        open_vlm(str(folder), device="cuda:all")


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantization_warns_of_coarse_scores(monkeypatch: pytest.MonkeyPatch, quantization: str) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    with pytest.warns(PrecisionWarning, match=f"{quantization} weights change scores by more than the scores"):
        place = placed(None, "bfloat16", "cuda:1", quantization=quantization)
    assert place.arguments["device_map"] == {"": "cuda:1"}
    settings = place.arguments["quantization_config"]
    assert (settings.load_in_8bit, settings.load_in_4bit) == (quantization == "8bit", quantization == "4bit")
    with pytest.raises(FinstError, match="do not work with float64: expected float32, bfloat16 or float16"):
        placed(None, "float64", "cuda", quantization=quantization)
