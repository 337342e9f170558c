"""The settings of the study of another reproduction's choices."""

from __future__ import annotations

from dataclasses import dataclass

from finst.options import Placement
from finst.vlm.spec import ModelSpec


@dataclass(frozen=True)
class DiscrepancySpec(ModelSpec):
    """Runs the choices of a public reproduction one at a time and shows which of them changes which curve or map.

    The default takes a few minutes on two cores with the built-in model. Full size: --trials 100 --pairs 50.
    """

    trials: int = 10
    """Trials of the similarity of the stages, for every pair of an object and a cell of a 2x2 grid (16 pairs)."""
    pairs: int = 12
    """Pairs of contexts for each condition of causal mediation."""
    seed: int = 0
    """Fixes scenes, permutations and resamples."""
    placement: Placement = "prefill"
    """Where the unfinished sentence stands in the baseline."""
    permutations: int = 200
    """Permutations behind each p value."""
    bootstraps: int = 500
    """Resamples behind each interval."""
    alpha: float = 0.05
    """Intervals have level 1 - alpha."""
