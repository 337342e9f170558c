"""What all interventions are told, and how the parts of a run are held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import xarray as xr

from finst.errors import FinstError
from finst.experiments.units import check_numbers
from finst.prompts import Placement
from finst.vlm.open import Dtype


@dataclass(frozen=True)
class InterventionSpec:
    """The model, the heads, and the statistics."""

    model: str = "organism"
    """Built-in model, folder with a checkpoint, or Hugging Face hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    cma: Path | None = None
    """Folder of a finished run of causal mediation of the same model, whose heads are edited; None: one is made first,
    in the folder OUT-cma."""
    pairs: int = 50
    """Pairs of that run if it is made."""
    placement: Placement = "prefill"
    """Where the unfinished sentence of a description is: begun in the assistant's turn, or in the user's."""
    draws: int = 2
    """Random sets of heads of each kind, of the whole model and of the same layers, that the strongest must beat."""
    seed: int = 0
    """Fixes scenes, splits, ties and random sets."""
    dtype: Dtype = "float32"
    """Number format of the model."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda or cuda:N."""
    batch: int = 16
    """Contexts in one pass through the model."""
    trials_per_unit: int = 24
    """Trials that are measured and kept together, all or none if killed."""
    alpha: float = 0.05
    """Intervals have level 1 - alpha. The paper's alpha, the size of an edit, is called dose."""


def check_intervention(spec: InterventionSpec, doses: Sequence[float]) -> None:
    """Raises FinstError for numbers out of range."""
    check_numbers(spec, {"pairs": 2, "draws": 1, "seed": 0, "batch": 1, "trials_per_unit": 1})
    if not doses or len(set(doses)) < len(doses):
        raise FinstError(f"doses is {tuple(doses)}: expected one or more different numbers")


def agreed(parts: Sequence[xr.Dataset], names: Sequence[str]) -> Sequence[xr.Dataset]:
    """The parts of a run. Raises FinstError when some of what all of them must share differs, such as their heads."""
    for name in names:
        if not all(part[name].equals(parts[0][name]) for part in parts[1:]):
            raise FinstError(
                f"units of this run were measured with different {name}: the run of causal mediation has changed in "
                "between; choose another out folder"
            )
    return parts


def record_of(spec: InterventionSpec) -> dict[str, object]:
    """The spec as attributes of a dataset."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(spec).items()}
    return {name: str(value) if isinstance(value, Path) else value for name, value in plain.items()}
