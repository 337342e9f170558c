"""Checkpoints of tiny random models, for tests that need an architecture and no knowledge."""

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
"""28-px patches, each one image token."""

FAMILIES: Mapping[str, Body] = MappingProxyType({name: row.body for name, row in ROWS.items()})
"""One of each architecture, by ``config.model_type``, with the published checkpoints' patches."""


def told_apart(vlm: VLM, ids: torch.Tensor) -> dict[str, Any]:
    """Which of the tokens are the picture's, for those of transformers' models that want to be told."""
    name = ROWS[vlm.reader.config.model_type].told_apart
    return {name: (ids == vlm.reader.config.image_token_id).int()} if name else {}


def checkpoint(folder: Path, body: Body = ORGANISM_GEOMETRY, template: bool = True) -> Path:
    """Writes a whole checkpoint, weights large enough that attention is far from uniform, and returns the folder.

    With a chat template of its own, or without any.
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
