"""Training the organism from scratch: one file from a mix of lessons to a folder of weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import AutoModelForImageTextToText

from finst.builtin.organism.batches import IGNORED, Batch, LessonStream
from finst.builtin.organism.card import TRAINING, write_card
from finst.builtin.organism.examine import examine
from finst.builtin.organism.families import architecture_of
from finst.builtin.organism.forward import Forward
from finst.builtin.organism.mixes import MIXES
from finst.builtin.organism.painter import Painter
from finst.errors import FinstError, choice


@dataclass(frozen=True)
class TrainSpec:
    """How to train an organism."""

    out: Path
    """Folder for the weights, tokenizer, image processor and training record; must not exist or be empty."""
    family: str = "qwen2_vl"
    """Name of the architecture: qwen2_vl or llava."""
    mix: str = "grounded"
    """Name of the mix of lessons."""
    start: Path | None = None
    """Folder of an organism to go on from; fresh weights without it."""
    steps: int = 20_000
    """Optimiser steps."""
    minutes: float | None = None
    """Anneal to the end by then, if the steps would take longer."""
    tokens: int = 60_000
    """Tokens a step, image and padding included."""
    learning_rate: float = 1e-3
    """Peak; linear warm-up, then a cosine to a fiftieth."""
    weight_decay: float = 0.05
    """On matrices only."""
    colour_noise: float = 0.0
    """Standard deviation, in grey levels, of a shift of each drawn object's colour."""
    evenness: float = 0.0
    """A token of a lesson with n learned tokens weighs n ** -evenness: 0 counts tokens alike, 1 lessons."""
    nearly_full: float = 0.0
    """Share of scenes that leave one or two cells empty; the others have any number of objects."""
    seed: int = 0
    """Of the weights and of the lessons."""
    workers: int = 12
    """Processes that make lessons."""
    device: str = "auto"
    """"cpu", "cuda", or "auto"."""
    compiled: bool = True
    """Compile the forward pass (on CUDA only)."""
    examined: int = 200
    """Lessons on each of the lines of the report card; 0 for none, and then no model card either."""


def progress(spec: TrainSpec, step: int, elapsed_s: float) -> float:
    """How far training is, in [0, 1]."""
    timed = elapsed_s / (60 * spec.minutes) if spec.minutes else 0.0
    return min(1.0, max(step / spec.steps, timed))


def learning_rate(spec: TrainSpec, step: int, done: float) -> float:
    """Linear warm-up over 300 steps, then a cosine that ends at a fiftieth of the peak."""
    return spec.learning_rate * min(1.0, (step + 1) / 300) * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))


def lesson_loss(
    model: Any,
    hidden: Float[Tensor, "lesson pos d_model"],
    batch: Batch,
    evenness: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the learned tokens, each weighted by its lesson's number of them ** -evenness."""
    wanted = batch.labels[:, 1:].to(hidden.device)
    learned = wanted != IGNORED
    logits = model.lm_head(hidden[:, :-1][learned])
    losses = F.cross_entropy(logits.float(), wanted[learned], reduction="none")
    weights = (learned.sum(1, keepdim=True).clamp(min=1) ** -evenness).expand_as(wanted)[learned]
    return (weights * losses).sum() / weights.sum()


def _optimiser(model: Any, spec: TrainSpec, fused: bool) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": spec.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=(0.9, 0.95), fused=fused)


def train(spec: TrainSpec) -> Path:
    """Trains, writes everything a checkpoint folder needs to ``spec.out`` and returns it.

    Raises FinstError for an unknown family or mix, a start of another family, or a folder that holds something already.
    """
    architecture = architecture_of(spec.family)
    if spec.mix not in MIXES:
        raise choice("mix", spec.mix, MIXES)
    if spec.out.exists() and any(spec.out.iterdir()):
        raise FinstError(f"{spec.out} is not empty: expected a new folder for the weights")
    legs = _earlier_legs(spec)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if spec.device == "auto" else spec.device
    on_gpu = torch.device(device).type == "cuda"
    torch.manual_seed(spec.seed)
    if on_gpu:
        torch.set_float32_matmul_precision("high")
    tokenizer = architecture.build_tokenizer()
    model: Any = (
        AutoModelForImageTextToText.from_pretrained(spec.start) if spec.start else architecture.build_model(tokenizer)
    )
    model.to(device=torch.device(device), dtype=torch.float32).train()
    forward = Forward(architecture, model, compiled=spec.compiled and on_gpu)
    painter = Painter(architecture, device, spec.colour_noise)
    optimiser = _optimiser(model, spec, fused=on_gpu)
    stream = LessonStream(architecture, MIXES[spec.mix], spec.tokens, spec.seed, spec.nearly_full)
    loader: Iterator[Batch] = iter(
        DataLoader(stream, batch_size=None, num_workers=spec.workers, prefetch_factor=4 if spec.workers else None)
    )
    curve: list[dict[str, float]] = []
    start, step, images, waited, done = time.monotonic(), 0, 0, 0.0, 0.0
    while done < 1:
        asked = time.monotonic()
        batch = next(loader)
        waited += time.monotonic() - asked
        rate = learning_rate(spec, step, done)
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(device, torch.bfloat16, enabled=on_gpu):
            loss = lesson_loss(model, forward(batch, painter.patches(batch)), batch, spec.evenness)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step, images = step + 1, images + len(batch.input_ids)
        elapsed = time.monotonic() - start
        done = progress(spec, step, elapsed)
        if step % 200 == 0 or done >= 1:
            curve.append({"step": step, "seconds": round(elapsed, 1), "loss": loss.item(), "learning_rate": rate})
            print(
                f"step {step}  {done:6.1%}  {elapsed:6.0f} s  loss {loss.item():.4f}  lessons awaited {waited:.0f} s",
                flush=True,
            )
    leg = {
        "family": spec.family,
        "mix": {"name": spec.mix, **MIXES[spec.mix]},
        "steps": step,
        "images": images,
        "tokens_a_step": spec.tokens,
        "seconds": round(time.monotonic() - start),
        "seed": spec.seed,
        "learning_rate": spec.learning_rate,
        "weight_decay": spec.weight_decay,
        "colour_noise": spec.colour_noise,
        "evenness": spec.evenness,
        "nearly_full": spec.nearly_full,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "curve": curve,
    }
    model.eval().bfloat16().save_pretrained(spec.out)
    tokenizer.save_pretrained(spec.out)
    architecture.build_image_processor().save_pretrained(spec.out)
    (spec.out / TRAINING).write_text(json.dumps([*legs, leg], indent=1) + "\n")
    if spec.examined:
        results = examine(architecture, model.float(), n=spec.examined, workers=spec.workers)
        write_card(architecture, spec.out, results, sum(p.numel() for p in model.parameters()))
    return spec.out


def _earlier_legs(spec: TrainSpec) -> list[dict[str, Any]]:
    folder = spec.start
    if folder is None:
        return []
    if not (folder / TRAINING).is_file():
        raise FinstError(f"{folder} holds no {TRAINING}: expected the folder of an organism that finst trained")
    trained = json.loads((folder / "config.json").read_text())["model_type"]
    if trained != spec.family:
        raise FinstError(
            f"{folder} holds an organism of family {trained!r}: expected {spec.family!r}, the one asked for"
        )
    return json.loads((folder / TRAINING).read_text())
