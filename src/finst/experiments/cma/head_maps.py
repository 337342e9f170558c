"""What a finished run of causal mediation says of every head: its mean score in each stage, and the rankings by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from finst.analysis import headsets
from finst.analysis.headsets import TopK
from finst.analysis.mediation import STAGES
from finst.errors import choice


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """What a finished run of causal mediation says of every head."""

    weights: str
    """Hash of the weights that were measured."""
    mean: Float[np.ndarray, "stage layer head"]
    """Mean score in logits, stages in the order of ``STAGES``."""
    above: Bool[np.ndarray, "stage layer head"]
    """Heads above the noise."""
    noise: float
    """Numerical noise of a score in logits: heads closer than this cannot be told apart."""

    @classmethod
    def of(cls, summary: xr.Dataset, weights: str) -> HeadMaps:
        """From the summary of ``finst run cma``."""
        part = summary.sel(condition=list(STAGES))
        mean, above = (part[name].transpose("condition", "layer", "head").values for name in ("mean", "above"))
        return cls(weights, mean, above, float(part["noise_floor"]))

    def top(self, stage: str, k: int, seed: int) -> TopK:
        """The ``k`` strongest heads of a stage, ties (within the noise) broken by seed; its warning tells what is
        arbitrary. Raises FinstError for an unknown stage and for more heads than there are."""
        if stage not in STAGES:
            raise choice("stage", stage, STAGES)
        place = STAGES.index(stage)
        return headsets.top_k(self.mean[place], k, tolerance=self.noise, above=self.above[place], seed=seed)

    def strongest(self, k: int, seed: int) -> TopK:
        """The ``k`` heads whose largest score over the stages is largest (Fig 46), ties as in ``top``; above the noise
        are heads that are so in any stage."""
        above = np.logical_or.reduce(self.above)
        return headsets.top_k(self.mean.max(0), k, tolerance=self.noise, above=above, seed=seed)

    def weakest(self, k: int, seed: int) -> TopK:
        """The ``k`` heads whose largest score over the stages is smallest, ties as in ``top``."""
        return headsets.top_k(-self.mean.max(0), k, tolerance=self.noise, seed=seed)
