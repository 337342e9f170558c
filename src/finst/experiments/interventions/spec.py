"""The settings that all interventions share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finst.options import Placement
from finst.vlm.spec import ModelSpec, check_numbers


@dataclass(frozen=True)
class InterventionSpec(ModelSpec):
    """The model, the heads, and the statistics."""

    cma: Path | None = None
    """Folder of a finished run of causal mediation of the same model, whose heads are edited; None: one is made first,
    in the folder OUT-cma."""
    pairs: int = 50
    """Pairs of contexts of that run if it is made."""
    placement: Placement = "prefill"
    """Where the unfinished sentence of a description stands: in the assistant's turn, or in the user's."""
    draws: int = 2
    """Random sets of other heads of each kind (of the whole model, of the same layers) as controls of the strongest."""
    seed: int = 0
    """Fixes scenes, splits, ties and random sets."""
    batch: int = 16
    """Contexts in one pass through the model."""
    trials_per_unit: int = 24
    """Trials that are measured and kept together, all or none if killed."""
    alpha: float = 0.05
    """Intervals have level 1 - alpha. The paper's alpha, the size of an edit, is called dose."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        check_numbers(self, {"pairs": 2, "draws": 1, "batch": 1, "trials_per_unit": 1})
