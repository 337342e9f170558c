"""The settings of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainSpec:
    """How to train an organism. The recipe that has the mix's name fills in what is left open."""

    out: Path
    """Folder for the weights, tokenizer, image processor and training record; must not exist or be empty."""
    family: str = "qwen2_vl"
    """Name of the architecture: qwen2_vl or llava."""
    mix: str = "grounded"
    """Name of the mix of lessons, and of the recipe: binding, counting, or an older one; never-, some- or only-, then
    mixed, apart or none, for the cells of the study of what position IDs come from."""
    start: Path | None = None
    """Folder of an organism to continue from; fresh weights without it."""
    layers: int | None = None
    """Decoder layers."""
    steps: int | None = None
    """Optimiser steps."""
    legs: int | None = None
    """Equal parts of the training, each with its own warm-up and cosine to a fiftieth of its peak; every peak is 0.7
    of the one before."""
    minutes: float | None = None
    """Anneal to the end by then, if the steps would take longer."""
    tokens: int = 60_000
    """Tokens a step, image and padding included."""
    learning_rate: float | None = None
    """Peak of the first leg."""
    weight_decay: float | None = None
    """On matrices only."""
    colour_noise: float | None = None
    """Standard deviation, in grey levels, of a shift of each drawn object's colour."""
    evenness: float | None = None
    """A token of a lesson with n learned tokens weighs n ** -evenness: 0 counts tokens alike, 1 lessons."""
    nearly_full: float | None = None
    """Share of scenes that leave one or two cells empty; the others have any number of objects."""
    low_entropy: float | None = None
    """Share of scenes of few colours and shapes; half of the others have as many as they can, the rest any."""
    seed: int = 0
    """Seed of the weights and of the lessons."""
    workers: int = 12
    """Processes that make lessons."""
    device: str = "auto"
    """"cpu", "cuda", or "auto"."""
    compiled: bool = True
    """Compile the parts of a step (on CUDA only)."""
    graphs: bool = True
    """Replay the whole step of each canvas as a CUDA graph (on CUDA only)."""
    checkpoints: int = 0
    """Steps, evenly spaced on a log scale from 100 to the last, whose weights are kept in OUT/checkpoints, each in a
    folder that opens as a model."""
    examined: int = 200
    """Lessons on each of the lines of the report card; 0 for none, and then no model card either."""
