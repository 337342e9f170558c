"""Checkpoints of tiny random models, for tests that need an architecture but no trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from finst.vlm.open import VLM, quiet
from tests.tiny.body import Body
from tests.tiny.rows import QWEN_GEOMETRY as QWEN_GEOMETRY
from tests.tiny.rows import ROWS as ROWS

ORGANISM_GEOMETRY = Body()
"""Patches of 28 px, one image token each."""

FAMILIES: Mapping[str, Body] = MappingProxyType({name: row.body for name, row in ROWS.items()})
"""A tiny model of each architecture, by ``config.model_type``, with the published checkpoints' patches."""


def token_types(vlm: VLM, ids: torch.Tensor) -> dict[str, Any]:
    """The argument that marks image tokens, for transformers' models that need it."""
    name = ROWS[vlm.reader.config.model_type].token_types
    return {name: (ids == vlm.reader.config.image_token_id).int()} if name else {}


def checkpoint(folder: Path, body: Body = ORGANISM_GEOMETRY, template: bool = True) -> Path:
    """Writes a checkpoint whose weights are large enough that attention is far from uniform; returns the folder.

    ``template`` adds a chat template.
    """
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(body.seed)
        parts = ROWS[body.family].make(body, template)
        for name, parameter in parts.model.named_parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.6 if "embed" in name else 1.2 / parameter.shape[-1] ** 0.5)
            elif name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
            elif name.endswith(("q_norm.weight", "k_norm.weight")):
                torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
        for part in parts:
            part.save_pretrained(folder)
    return folder
