"""Model, number format and device: the settings that every spec shares. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from finst.options import Dtype


@dataclass(frozen=True)
class ModelSpec:
    """A model by name, and how to load it."""

    model: str = "organism"
    """Built-in model, folder with a checkpoint, or Hugging Face hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Dtype = "float32"
    """Number format of the model. The 16-bit formats are noisier than the scores of many heads."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:N or, over all GPUs, cuda:all."""
