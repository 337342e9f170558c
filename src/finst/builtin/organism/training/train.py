"""Training the organism from scratch: from a recipe to a folder of weights."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import DataLoader
from transformers import AutoModelForImageTextToText

from finst.builtin.organism.architecture import Architecture
from finst.builtin.organism.card import TRAINING, write_card
from finst.builtin.organism.examine import examine
from finst.builtin.organism.families import architecture_of
from finst.builtin.organism.training.batches import Batch, LessonStream
from finst.builtin.organism.training.learner import Learner
from finst.builtin.organism.training.recipes import RECIPES, Recipe
from finst.builtin.organism.training.schedule import checkpoint_steps, learning_rate, leg_of, progress
from finst.builtin.organism.training.spec import TrainSpec
from finst.builtin.organism.training.stepping import PlainSteps, ReplayedSteps, Steps
from finst.errors import FinstError, choice

CHECKPOINTS = "checkpoints"
"""Folder of a training's checkpoints, in its own."""

REPORTED = 200
"""Steps between two lines about the loss."""


def completed(spec: TrainSpec) -> tuple[TrainSpec, Recipe]:
    """The spec with everything that it leaves open as the recipe of its mix has it, and what then is the recipe.

    Raises FinstError for an unknown mix, and for numbers that make no training.
    """
    if spec.mix not in RECIPES:
        raise choice("mix", spec.mix, RECIPES)
    recipe = RECIPES[spec.mix]
    names = [field.name for field in fields(Recipe) if field.name != "mix"]
    given = {name: getattr(spec, name) for name in names if getattr(spec, name) is not None}
    recipe = replace(recipe, **given)
    for name in ("layers", "steps", "legs"):
        if getattr(recipe, name) < 1:
            raise FinstError(f"{name} is {getattr(recipe, name)}: expected at least 1")
    for name in ("nearly_full", "low_entropy"):
        if not 0 <= getattr(recipe, name) <= 1:
            raise FinstError(f"{name} is {getattr(recipe, name)}: expected a share from 0 to 1")
    return replace(spec, **{name: getattr(recipe, name) for name in names}), recipe


def train(spec: TrainSpec) -> Path:
    """Trains, writes everything a checkpoint folder needs to ``spec.out`` and returns it.

    Raises FinstError for an unknown family or mix, a start of another family or depth, or a folder that holds
    something already.
    """
    architecture = architecture_of(spec.family)
    depth = spec.layers
    spec, recipe = completed(spec)
    if spec.out.exists() and any(spec.out.iterdir()):
        raise FinstError(f"{spec.out} is not empty: expected a new folder for the weights")
    earlier = _earlier_legs(spec, depth)
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if spec.device == "auto" else spec.device)
    torch.manual_seed(spec.seed)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    model: Any = (
        AutoModelForImageTextToText.from_pretrained(spec.start)
        if spec.start
        else architecture.build_model(architecture.build_tokenizer(), recipe.layers)
    )
    model.to(device=device, dtype=torch.float32).train()
    taught = _taught(architecture, model, spec, recipe)
    save(architecture, model, spec.out)
    (spec.out / TRAINING).write_text(json.dumps([*earlier, taught], indent=1) + "\n")
    if spec.examined:
        model.bfloat16()
        results = examine(architecture, model.float().eval(), n=spec.examined, workers=spec.workers)
        write_card(architecture, spec.out, results, sum(p.numel() for p in model.parameters()))
    return spec.out


def steps_of(architecture: Architecture, model: Any, spec: TrainSpec, recipe: Recipe) -> Steps:
    """Who makes the steps of a training of ``model``, which is on its device."""
    on_gpu = model.device.type == "cuda"
    learner = Learner.of(
        architecture,
        model,
        weight_decay=recipe.weight_decay,
        colour_noise=recipe.colour_noise,
        evenness=recipe.evenness,
        compiled=spec.compiled and on_gpu,
    )
    return ReplayedSteps(learner) if spec.graphs and on_gpu else PlainSteps(learner)


def lessons_of(architecture: Architecture, spec: TrainSpec, recipe: Recipe) -> Iterator[Batch]:
    """Endless batches, made by the spec's workers."""
    stream = LessonStream(architecture, recipe.mix, spec.tokens, spec.seed, recipe.nearly_full, recipe.low_entropy)
    ahead = 4 if spec.workers else None
    return iter(DataLoader(stream, batch_size=None, num_workers=spec.workers, prefetch_factor=ahead))


def save(architecture: Architecture, model: Any, folder: Path) -> None:
    """Weights as bfloat16, tokenizer and image processor: a folder that opens as a model."""
    copy.deepcopy(model).eval().bfloat16().save_pretrained(folder)
    architecture.build_tokenizer().save_pretrained(folder)
    architecture.build_image_processor().save_pretrained(folder)


def _keep(architecture: Architecture, model: Any, folder: Path) -> None:
    """Saves a checkpoint that is whole from the moment at which its folder has its name."""
    partial = folder.with_name(f"partial-{folder.name}")
    save(architecture, model, partial)
    partial.rename(folder)


def _taught(architecture: Architecture, model: Any, spec: TrainSpec, recipe: Recipe) -> dict[str, Any]:
    """Trains the model in place; the record of it."""
    steps = steps_of(architecture, model, spec, recipe)
    batches = lessons_of(architecture, spec, recipe)
    kept = set(checkpoint_steps(spec.checkpoints, recipe.steps))
    curve: list[dict[str, float]] = []
    begun, step, images, waited, done, leg, since = time.monotonic(), 0, 0, 0.0, 0.0, 0, 0
    while done < 1:
        before = time.monotonic()
        batch = next(batches)
        waited += time.monotonic() - before
        rate = learning_rate(recipe.learning_rate, done, recipe.legs, since)
        steps.step(batch, rate)
        step, since, images = step + 1, since + 1, images + len(batch.input_ids)
        elapsed = time.monotonic() - begun
        done = progress(step, recipe.steps, elapsed, spec.minutes)
        if step % REPORTED == 0 or done >= 1:
            loss = steps.loss()
            curve.append({"step": step, "seconds": round(elapsed, 1), "loss": loss, "learning_rate": rate})
            line = f"step {step}  {done:6.1%}  {elapsed:6.0f} s  loss {loss:.4f}  lessons awaited {waited:.0f} s"
            print(line, flush=True)
        if step in kept:
            steps.loss()
            _keep(architecture, model, spec.out / CHECKPOINTS / f"step-{step:06d}")
        if leg_of(done, recipe.legs) > leg:
            leg, since = leg + 1, 0
            steps.restart()
    on_gpu = model.device.type == "cuda"
    return {
        "family": spec.family,
        "mix": {"name": spec.mix, **recipe.mix},
        "layers": len(model.model.language_model.layers),
        "steps": step,
        "legs": recipe.legs,
        "images": images,
        "tokens_a_step": spec.tokens,
        "seconds": round(time.monotonic() - begun),
        "seed": spec.seed,
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "colour_noise": recipe.colour_noise,
        "evenness": recipe.evenness,
        "nearly_full": recipe.nearly_full,
        "low_entropy": recipe.low_entropy,
        "device": torch.cuda.get_device_name(model.device) if on_gpu else "cpu",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "curve": curve,
    }


def _earlier_legs(spec: TrainSpec, depth: int | None) -> list[dict[str, Any]]:
    """The records of the start's trainings."""
    folder = spec.start
    if folder is None:
        return []
    if not (folder / TRAINING).is_file():
        raise FinstError(f"{folder} holds no {TRAINING}: expected the folder of an organism that finst trained")
    config = json.loads((folder / "config.json").read_text())
    family, layers = config["model_type"], config["text_config"]["num_hidden_layers"]
    if family != spec.family:
        raise FinstError(
            f"{folder} holds an organism of family {family!r}: expected {spec.family!r}, as --family has it"
        )
    if depth is not None and depth != layers:
        raise FinstError(f"{folder} holds an organism of {layers} layers: expected {depth}, as --layers has it")
    return json.loads((folder / TRAINING).read_text())
