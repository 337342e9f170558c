"""Devices and number formats of a model's weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Literal

import torch
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

from finst.errors import FinstError, PrecisionWarning, choice
from finst.options import full_name

Quantization = Literal["8bit", "4bit"]

PARTS = {"bf16x3": 2, "bf16x6": 3}
"""Number of bfloat16 parts of each float32 number."""

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bf16x3": torch.float32,
    "bf16x6": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

QUANTIZED: tuple[Quantization, ...] = ("8bit", "4bit")

DeviceMap = Literal["auto"] | Mapping[str, int | str]
"""``auto``, or the device of each module by name, as accelerate takes it."""

EVERYWHERE = "cuda:all"
"""Device name for all GPUs together: a model's layers are spread over them."""

_DEVICES = ("auto", "cpu", "cuda", "cuda:N", EVERYWHERE)


@dataclass(frozen=True)
class WeightPlacement:
    """How a model's weights are loaded."""

    dtype: torch.dtype
    device: torch.device
    """The model's device; for a model on several devices, the one of its inputs."""
    parts: int = 0
    """As in ``VLM``."""
    device_map: Mapping[str, int | str] | None = None
    """Device of each module, for a model on several devices."""
    quantization: Quantization | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for transformers' ``from_pretrained``."""
        arguments: dict[str, Any] = {"dtype": self.dtype}
        if self.device_map is not None:
            arguments["device_map"] = dict(self.device_map)
        if self.quantization is not None:
            arguments["device_map"] = dict(self.device_map or {"": str(self.device)})
            arguments["quantization_config"] = (
                BitsAndBytesConfig(load_in_8bit=True)
                if self.quantization == "8bit"
                else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=self.dtype)
            )
        return arguments


def placement(dtype: str, device: str) -> tuple[torch.dtype, torch.device]:
    """The number format and the device of these names, for a model on one device.

    Raises FinstError for unknown names, a device that this machine does not have, and a format that the device does not
    support.
    """
    dtype = full_name(dtype)
    if dtype not in DTYPES:
        raise choice("dtype", dtype, DTYPES)
    target = _device(device)
    if dtype in PARTS and target.type != "cuda":
        raise FinstError(f"dtype {dtype!r} is for CUDA devices, not for {target.type!r}; expected float32 there")
    return DTYPES[dtype], target


def placed(
    config: Any, dtype: str, device: str, device_map: DeviceMap | None = None, quantization: str | None = None
) -> WeightPlacement:
    """How to load a model of this configuration in this number format on these devices.

    ``device`` "cuda:all" is ``device_map`` "auto"; ``dtype`` "8bit" or "4bit" is that ``quantization`` with numbers in
    bfloat16. Raises FinstError for unknown names, settings that exclude each other, packages that are not installed,
    and GPUs without enough memory.
    """
    dtype = full_name(dtype)
    if dtype in QUANTIZED and quantization in (None, dtype):
        dtype, quantization = "bfloat16", dtype
    if dtype in QUANTIZED or quantization not in (None, *QUANTIZED):
        raise choice("quantization", quantization, QUANTIZED)
    if dtype not in DTYPES:
        raise choice("dtype", dtype, (*DTYPES, *QUANTIZED))
    if device == EVERYWHERE:
        if not torch.cuda.is_available():
            raise FinstError(f"device {device!r} is not there: this machine has no CUDA device")
        device, device_map = "auto", device_map or "auto"
    if device_map is not None and device != "auto":
        raise FinstError(f"both the device {device!r} and a device_map were given: expected one of the two")
    number_format, target = placement(dtype, device)
    if quantization is not None:
        _check_quantization(quantization, dtype, target)
    if device_map is None:
        return WeightPlacement(number_format, target, PARTS.get(dtype, 0), None, _quantization(quantization))
    spread = _spread(config, number_format, device_map)
    return WeightPlacement(number_format, target, PARTS.get(dtype, 0), spread, _quantization(quantization))


def _quantization(name: str | None) -> Quantization | None:
    return next((known for known in QUANTIZED if known == name), None)


def _check_quantization(quantization: str, dtype: str, device: torch.device) -> None:
    if device.type != "cuda":
        raise FinstError(f"{quantization} weights are for CUDA devices, not for {device.type!r}: expected none there")
    if dtype not in ("float32", "bfloat16", "float16"):
        raise FinstError(f"{quantization} weights do not work with {dtype}: expected float32, bfloat16 or float16")
    _need("bitsandbytes", f"{quantization} weights", "quantization")
    _need("accelerate", f"{quantization} weights", "quantization")
    warnings.warn(
        f"{quantization} weights change scores by more than the scores of many heads: compare results with float32",
        PrecisionWarning,
        stacklevel=4,
    )


def _need(package: str, what: str, extra: str) -> None:
    if find_spec(package) is None:
        raise FinstError(f"{what} need {package}, which is not installed: pip install 'finst[{extra}]'")


def _spread(config: Any, dtype: torch.dtype, device_map: DeviceMap) -> Mapping[str, int | str]:
    """Each module's device: all GPUs or all the CPU, since offloaded weights would be copied in every walk."""
    _need("accelerate", "models on several devices", "multi-gpu")
    devices = _balanced(config, dtype) if device_map == "auto" else dict(device_map)
    kinds = {"cuda" if isinstance(place, int) else place.partition(":")[0] for place in devices.values()}
    if "disk" in kinds or kinds == {"cpu", "cuda"}:
        off = [name for name, place in devices.items() if place in ("cpu", "disk")]
        raise FinstError(
            f"device_map leaves {len(off)} modules outside of the GPUs, beginning with {off[0]!r}: expected GPUs with "
            "memory for all weights, a 16-bit dtype, or device='cpu'"
        )
    if not kinds <= {"cpu", "cuda"}:
        raise choice("kind of device in device_map", sorted(kinds - {"cpu", "cuda"})[0], ("cpu", "cuda"))
    return MappingProxyType(devices)


def _balanced(config: Any, dtype: torch.dtype) -> dict[str, int | str]:
    """Layers spread over all GPUs as evenly as possible; "disk" for modules that fit on none."""
    count = torch.cuda.device_count()
    if not count:
        return {"": "cpu"}
    accelerate = import_module("accelerate")
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    whole = sorted(model._no_split_modules or ())
    free = {index: int(0.9 * torch.cuda.mem_get_info(index)[0]) for index in range(count)}
    even = accelerate.utils.get_balanced_memory(model, free, whole, dtype)
    return dict(accelerate.infer_auto_device_map(model, even, whole, dtype))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == EVERYWHERE:
        raise FinstError(f"device {name!r} is for checkpoints: expected one device here")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise choice("device", name, _DEVICES)
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise FinstError(f"device {name!r} is not there: this machine has {torch.cuda.device_count()} CUDA devices")
    return device
