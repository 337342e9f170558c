"""Checkpoints of tiny random models, for tests that need an architecture and no knowledge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from finst.vlm.open import VLM, quiet
from tests.tiny.body import Body, Parts
from tests.tiny.gemma import gemma
from tests.tiny.idefics import idefics2, idefics3
from tests.tiny.internvl import internvl
from tests.tiny.llava import llava
from tests.tiny.onevision import onevision
from tests.tiny.qwen import qwen

ORGANISM_GEOMETRY = Body()
"""28-px patches, each one image token."""

QWEN_GEOMETRY = Body(patch_px=14, merge=2, temporal=2)
"""28-px image tokens made of 2x2 patches, each of two equal frames, as in the published checkpoints."""

FAMILIES: dict[str, Body] = {
    "qwen2_vl": QWEN_GEOMETRY,
    "qwen2_5_vl": Body(family="qwen2_5_vl", patch_px=14, merge=2, temporal=2),
    "llava": Body(family="llava", patch_px=14),
    "llava_onevision": Body(family="llava_onevision", patch_px=14, image_px=86),
    "idefics2": Body(family="idefics2", patch_px=14),
    "idefics3": Body(family="idefics3", patch_px=14, merge=2),
    "smolvlm": Body(family="smolvlm", patch_px=14, merge=3, image_px=128),
    "internvl": Body(family="internvl", patch_px=14, merge=2),
    "qwen3_vl": Body(family="qwen3_vl", patch_px=16, merge=2, temporal=2),
    "gemma3": Body(family="gemma3", patch_px=14, merge=2, image_px=140),
}
"""One of each architecture, by ``config.model_type``, with the published checkpoints' patches."""

_MAKERS: dict[str, Callable[[Body, bool], Parts]] = {
    "qwen2_vl": qwen,
    "qwen2_5_vl": qwen,
    "llava": llava,
    "llava_onevision": onevision,
    "idefics2": idefics2,
    "idefics3": idefics3,
    "smolvlm": idefics3,
    "internvl": internvl,
    "qwen3_vl": qwen,
    "gemma3": gemma,
}


def told_apart(vlm: VLM, ids: torch.Tensor) -> dict[str, Any]:
    """Which of the tokens are the picture's, for those of transformers' models that want to be told."""
    qwen = {"qwen2_vl": "mm_token_type_ids", "qwen2_5_vl": "mm_token_type_ids", "qwen3_vl": "mm_token_type_ids"}
    name = {**qwen, "gemma3": "token_type_ids"}.get(vlm.reader.config.model_type)
    return {name: (ids == vlm.reader.config.image_token_id).int()} if name else {}


def checkpoint(folder: Path, body: Body = ORGANISM_GEOMETRY, template: bool = True) -> Path:
    """Writes a whole checkpoint, weights large enough that attention is far from uniform, and returns the folder.

    With a chat template of its own, or without any.
    """
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(body.seed)
        parts = _MAKERS[body.family](body, template)
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
