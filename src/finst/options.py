"""The named choices that specs offer, in a module that costs nothing to import: help and refusals must be quick."""

from __future__ import annotations

from typing import Literal

Dtype = Literal["float32", "bf16x3", "bf16x6", "float64", "bfloat16", "float16", "8bit", "4bit"]
"""``bf16x3`` and ``bf16x6`` are float32 whose linear layers multiply by 3 or 6 products of bfloat16 parts; ``8bit``
and ``4bit`` are bfloat16 with quantised weights."""

Placement = Literal["prefill", "user_turn"]
"""Where an unfinished sentence stands: begun in the assistant's turn, or whole in the user's turn."""

Wording = Literal["paper", "enumeration"]
"""How a list is begun: ``In this image there is 1. a``, or ``1. a`` as the beginning of the answer to the question
for a numbered list."""

Entropy = Literal["low", "high", "any"]
"""low: all conjunctions of few values; high: as distinct as possible (Figs 6, 7); any: any distinct conjunctions."""

Objects = Literal["same", "fresh"]
"""same: every trial shows the same objects; fresh: objects of its own."""

Arrangements = Literal["counterbalanced", "all"]
"""counterbalanced: every object in every cell equally often at every step; all: every arrangement of four objects."""

TensorName = Literal["resid", "post_attention_norm", "attn_out", "z"]
"""The residual stream after each layer, its normalised form between attention and MLP, the output of attention, or the
output of every head."""

DRAWN = "drawn"
"""In place of a folder of pictures: scenes of coloured shapes, drawn by finst."""
