"""Copies to a device: values, dtypes and shapes are unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finst.vlm.to_device import cat_to_device, to_device

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("array", [np.arange(6).reshape(2, 3), np.zeros(0, dtype=np.int64), np.array([True, False])])
def test_arrays(array: np.ndarray, device: str) -> None:
    tensor = to_device(array, torch.device(device))
    assert tensor.device.type == device
    assert torch.equal(tensor.cpu(), torch.from_numpy(array))
    assert tensor.dtype == torch.from_numpy(array).dtype


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_tensors_are_concatenated_along_their_first_axis(dtype: torch.dtype, device: str) -> None:
    parts = [torch.arange(6).view(2, 3).to(dtype), torch.arange(12).view(4, 3).to(dtype)]
    whole = cat_to_device(parts, torch.device(device))
    assert (whole.device.type, whole.dtype, whole.shape) == (device, dtype, (6, 3))
    assert torch.equal(whole.cpu(), torch.cat(parts))
