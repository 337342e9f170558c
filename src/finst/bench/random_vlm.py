"""A whole model of any shape with random weights, created on the device where it runs."""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from finst.errors import FinstError
from finst.vlm.families import family_of
from finst.vlm.open import VLM, Reader, quiet
from finst.vlm.published import Shape


def random_vlm(shape: Shape, dtype: torch.dtype, device: torch.device, seed: int = 0) -> VLM:
    """``with_random_weights`` for a shape; the reader has no tokenizer and no image processor.

    Raises FinstError as ``with_random_weights`` does, and when finst has no family for the architecture.
    """
    family = family_of(shape.model_type)
    return with_random_weights(
        Reader(shape.name, Path(), None, shape.config(), None, None, family), dtype, device, seed
    )


def with_random_weights(reader: Reader, dtype: torch.dtype, device: torch.device, seed: int = 0) -> VLM:
    """The transformers model of this configuration, created on ``device`` in ``dtype`` without a copy in host memory.

    Matrices are normal with a standard deviation of 1/sqrt(fan-in), so that every projection keeps the scale of its
    input and attention is far from uniform; norms are 1, biases 0. Buffers, such as rotary tables, are the modules'
    own. Raises FinstError when the device has less memory than the weights take.
    """
    _check_room(reader, dtype, device)
    others = [device] if device.type == "cuda" else []
    with quiet(), torch.random.fork_rng(devices=others), device:
        model = AutoModelForImageTextToText.from_config(deepcopy(reader.config), dtype=dtype)
    _randomise(model, torch.Generator(device).manual_seed(seed))
    return VLM(replace(reader, config=model.config), model.eval().requires_grad_(False))


def _check_room(reader: Reader, dtype: torch.dtype, device: torch.device) -> None:
    with quiet(), torch.device("meta"):
        skeleton = AutoModelForImageTextToText.from_config(deepcopy(reader.config))
    needed = sum(parameter.numel() for parameter in skeleton.parameters())
    taken, available = needed * dtype.itemsize, _memory(device)
    if taken > available:
        raise FinstError(
            f"{reader.id} has {needed:,} weights, {taken / 2**30:.1f} GiB in {str(dtype).removeprefix('torch.')}, and "
            f"{device.type} has {available / 2**30:.1f} GiB: expected a smaller shape, a shorter dtype or another "
            "device"
        )


def _memory(device: torch.device) -> int:
    """The device's total memory, in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@torch.no_grad()
def _randomise(model: nn.Module, generator: torch.Generator) -> None:
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
        elif name.endswith("bias"):
            parameter.zero_()
        elif name.endswith("weight"):
            parameter.fill_(1)
        else:  # the embedding of a single token, such as CLIP's class embedding
            parameter.normal_(std=parameter.numel() ** -0.5, generator=generator)
