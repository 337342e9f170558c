"""Named choices of specs. This module imports nothing heavy, so that help and error messages come quickly."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Dtype = Literal["float32", "bf16x3", "bf16x6", "float64", "bfloat16", "float16", "8bit", "4bit"]
"""``bf16x3`` and ``bf16x6`` are float32 whose linear layers multiply by 3 or 6 products of bfloat16 parts; ``8bit``
and ``4bit`` are bfloat16 with quantised weights."""

SHORT: Mapping[str, str] = MappingProxyType(
    {
        "bf16": "bfloat16",
        "fp16": "float16",
        "half": "float16",
        "fp32": "float32",
        "float": "float32",
        "fp64": "float64",
        "double": "float64",
    }
)
"""Other names of number formats, which are taken wherever a format is: options, factors, settings and functions."""


def full_name(name: str) -> str:
    """A number format's own name for one of its other names, in any case; other texts as they are."""
    return SHORT.get(name.lower(), name)


Placement = Literal["prefill", "user_turn"]
"""Where the sentence to complete is. prefill: it begins the assistant's turn; user_turn: it is in the user's turn."""

Wording = Literal["paper", "enumeration"]
"""How a list begins. paper: ``In this image there is 1. a``; enumeration: ``1. a``, in answer to an instruction to list
all objects."""

Entropy = Literal["low", "high", "any"]
"""low: all conjunctions of few colours and shapes; high: objects as distinct as possible (Figs 6, 7); any: any distinct
conjunctions."""

Objects = Literal["same", "fresh"]
"""same: all trials show the same objects; fresh: every trial draws its own."""

Arrangements = Literal["counterbalanced", "all"]
"""counterbalanced: every object in every cell equally often at every step; all: every arrangement of four objects."""

TensorName = Literal["resid", "post_attention_norm", "attn_out", "z"]
"""The residual stream after each layer, its normalised form between attention and MLP, the output of attention, or the
output of every head."""

DRAWN = "drawn"
"""Given instead of a folder of pictures: scenes of coloured shapes that finst draws."""
