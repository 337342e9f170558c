"""How much faster the engine is than doing the same one forward pass at a time, measured in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from finst.engine import hooks
from finst.engine import nnsight as nnsight_engine
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import Rows, each_head, unedited
from finst.engine.record import record
from finst.errors import FinstError
from finst.prompts import scene_description
from finst.scenes.designs import mediation_pairs
from finst.scenes.draw import draw
from finst.vlm.encode import Encoded, encode, first_tokens
from finst.vlm.open import VLM, open_reader, open_vlm

Logits = Float[Tensor, "row answer"]

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class BenchSweep:
    """All three conditions of one pair of causal mediation, over all heads, by each engine in turn."""

    model: str = "organism"
    """Built-in model, folder with a checkpoint, or Hugging Face hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda or cuda:N."""
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = "float32"
    """Number format of the model."""
    repeats: int = 5
    """Times that every engine runs; medians are reported."""
    seed: int = 0
    """Of the pair's scenes."""


def sweep(spec: BenchSweep) -> dict[str, Any]:
    """Seconds for one pair, ratios to the engine's, and the largest difference between logits.

    Every engine starts from pixels and ends with the answers' logits of all rows; they take turns, so that a busy
    machine slows all of them. ``nnsight_s`` and ``ratio_nnsight`` are None where nnsight is not installed. Raises
    FinstError for a model that cannot be opened or fewer than one repeat.
    """
    if spec.repeats < 1:
        raise FinstError(f"repeats must be at least 1, not {spec.repeats}")
    vlm = open_vlm(open_reader(spec.model, revision=spec.revision), dtype=spec.dtype, device=spec.device)
    contexts, answers = _contexts(vlm, spec.seed)
    engines: dict[str, Callable[[], Logits]] = {
        "ours": lambda: _ours(vlm, contexts, answers),
        "hooks": lambda: _looped(hooks, vlm, contexts, answers),
    }
    if find_spec("nnsight") is not None:
        engines["nnsight"] = lambda: _looped(nnsight_engine, vlm, contexts, answers)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    logits: dict[str, Logits] = {}
    for _ in range(spec.repeats):
        for name, engine in engines.items():
            logits[name], elapsed = timed(engine, vlm.device)
            seconds[name].append(elapsed)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "model": spec.model,
        "device": device_name(vlm.device),
        "dtype": spec.dtype,
        "tokens": len(contexts[0].input_ids),
        "heads": vlm.n_layers * vlm.n_heads,
        "ours_s": median["ours"],
        "hooks_s": median["hooks"],
        "nnsight_s": median.get("nnsight"),
        "ratio_hooks": median["hooks"] / median["ours"],
        "ratio_nnsight": median["nnsight"] / median["ours"] if "nnsight" in median else None,
        "max_abs_error": max(float((logits["ours"] - other).abs().max()) for other in logits.values()),
    }


def _contexts(vlm: VLM, seed: int) -> tuple[list[Encoded], list[int]]:
    """Clean, swapped and changed context of one pair, and the first tokens of its three colours."""
    pair = mediation_pairs(1, seed)[0]
    prompt = scene_description(pair.clean, described=[0], target=1)
    contexts = [encode(vlm.reader, draw(scene), prompt) for scene in (pair.clean, pair.swapped, pair.changed)]
    colours = [obj.colour for obj in (*pair.clean.objects, pair.changed.objects[1])]
    return contexts, first_tokens(vlm.reader, prompt, colours)


def _rows(clean: Encoded, swapped_z: Tensor, changed_z: Tensor) -> Rows:
    """The unedited row, then ID retrieval, ID selection and feature retrieval (paper, Fig 1d)."""
    described, last = clean.tokens.described(0), [clean.tokens.last]
    return unedited() + each_head(swapped_z, described) + each_head(swapped_z, last) + each_head(changed_z, last)


def _ours(vlm: VLM, contexts: Sequence[Encoded], answers: Sequence[int]) -> Logits:
    recording = record(vlm, contexts)
    rows = _rows(contexts[0], recording.z[1], recording.z[2])
    return counterfactuals(vlm, recording[0], rows, answers)


def _looped(engine: ModuleType, vlm: VLM, contexts: Sequence[Encoded], answers: Sequence[int]) -> Logits:
    clean, swapped, changed = contexts
    rows = _rows(clean, engine.record_z(vlm, swapped), engine.record_z(vlm, changed))
    return engine.counterfactuals(vlm, clean, rows, answers)


def timed(work: Callable[[], ResultT], device: torch.device) -> tuple[ResultT, float]:
    """What ``work`` returns, and the seconds that it took the device."""
    _wait(device)
    start = time.perf_counter()
    result = work()
    _wait(device)
    return result, time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """For people, with the number of threads on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
