"""Estimates that were made before: by settings, shape of the model, number format and machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from finst.errors import FinstError
from finst.plans.plan import MODEL_FIELDS, Step
from finst.rehearsal.estimate import StepEstimate, read_rehearsal
from finst.runs.archive import make_folder, write_atomically
from finst.runs.provenance import machine
from finst.runs.spec import from_json, to_json
from finst.vlm.names import BUILTIN
from finst.vlm.placement import EVERYWHERE
from finst.vlm.reader import Reader
from finst.vlm.spec import ModelSpec

SIZES = (
    "model_type",
    "num_hidden_layers",
    "depth",
    "hidden_size",
    "embed_dim",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "image_size",
    "patch_size",
    "spatial_merge_size",
)
"""The entries of configurations that fix how much a model computes."""


def key_of(step: Step, spec: Any, reader: Reader, model: ModelSpec) -> str:
    """Equal keys mean that one estimate is good for both: the same work on the same shape and machine."""
    settings = {name: value for name, value in to_json(spec).items() if name not in (*MODEL_FIELDS, "cma")}
    text, vision = reader.config.get_text_config(), reader.config.vision_config
    shape = [[getattr(part, name, None) for name in SIZES] for part in (text, vision)]
    name = reader.id if reader.id in BUILTIN else None
    parts = [step.experiment, settings, reader.config.model_type, shape, name, model.dtype, _kind(model), machine()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _kind(model: ModelSpec) -> str:
    if model.device == EVERYWHERE:
        return EVERYWHERE
    on_gpu = torch.cuda.is_available() if model.device == "auto" else model.device.startswith("cuda")
    return "cuda" if on_gpu else "cpu"


def remember(steps: Sequence[StepEstimate]) -> None:
    """Keeps the estimates in the user's cache, where it can be written."""
    with suppress(FinstError):
        make_folder(_cache())
        for step in steps:
            if step.sample is not None:
                write_atomically(_cache() / f"{step.key}.json", json.dumps(to_json(step)).encode())


def known(keys: Mapping[str, str], folder: Path) -> dict[str, StepEstimate]:
    """Estimates of steps (name and key) from the rehearsal in ``folder``, or else from the cache.

    Damaged files give no estimate.
    """
    there: dict[str, StepEstimate] = {}
    with suppress(FinstError):
        rehearsal = read_rehearsal(folder)
        there = {} if rehearsal is None else {step.key: step for step in rehearsal.steps if step.sample is not None}
    found = {name: there.get(key) or _remembered(key) for name, key in keys.items()}
    return {name: step for name, step in found.items() if step is not None}


def _remembered(key: str) -> StepEstimate | None:
    try:
        return from_json(StepEstimate, json.loads((_cache() / f"{key}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, FinstError):
        return None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finst" / "rehearsals"
