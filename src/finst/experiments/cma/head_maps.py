"""Mean scores of every head in each stage of causal mediation, and the rankings of heads by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from finst.analysis import headsets
from finst.analysis.headsets import TopK
from finst.analysis.mediation import STAGES
from finst.errors import choice


def stages_of(summary: xr.Dataset) -> list[str]:
    """The stages of a summary, in its order."""
    return [str(stage) for stage in summary["condition"].values]


def mean_map(summary: xr.Dataset, stage: str) -> Float[np.ndarray, "layer head"]:
    """The mean scores of a stage in logits."""
    return summary["mean"].sel(condition=stage).transpose("layer", "head").values


def above_map(summary: xr.Dataset, stage: str) -> Bool[np.ndarray, "layer head"]:
    """Which heads of a stage are above the noise."""
    return summary["above"].sel(condition=stage).transpose("layer", "head").values


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """The maps of a finished run of causal mediation."""

    weights: str
    """Hash of the measured weights."""
    mean: Float[np.ndarray, "stage layer head"]
    """Mean score in logits, stages in the order of ``STAGES``."""
    above: Bool[np.ndarray, "stage layer head"]
    """Heads above the noise."""
    noise: float
    """Numerical noise of a score in logits: heads closer than this are tied."""

    @property
    def heads(self) -> int:
        """How many heads the model has."""
        return self.mean[0].size

    @classmethod
    def of(cls, summary: xr.Dataset, weights: str) -> HeadMaps:
        """The maps in a summary of ``finst run cma``."""
        part = summary.sel(condition=list(STAGES))
        mean, above = (part[name].transpose("condition", "layer", "head").values for name in ("mean", "above"))
        return cls(weights, mean, above, float(part["noise_floor"]))

    def top(self, stage: str, k: int, seed: int) -> TopK:
        """The ``k`` strongest heads of a stage; ties (within the noise) are broken by seed, and stated in its warning.

        Raises FinstError for an unknown stage and for more heads than there are.
        """
        if stage not in STAGES:
            raise choice("stage", stage, STAGES)
        place = STAGES.index(stage)
        return headsets.top_k(self.mean[place], k, tolerance=self.noise, above=self.above[place], seed=seed)

    def strongest(self, k: int, seed: int) -> TopK:
        """The ``k`` heads with the largest maximum over the stages that have scores (Fig 46), ties as in ``top``.

        A head counts as above the noise if it is so in any stage.
        """
        above = np.logical_or.reduce(self.above)
        return headsets.top_k(np.fmax.reduce(self.mean), k, tolerance=self.noise, above=above, seed=seed)

    def weakest(self, k: int, seed: int) -> TopK:
        """The ``k`` heads with the smallest maximum over the stages, ties as in ``top``; none is among the strongest.

        Only for up to half of all heads.
        """
        scores = -np.fmax.reduce(self.mean)
        scores[tuple(zip(*self.strongest(k, seed).heads, strict=True))] = -np.inf
        return headsets.top_k(scores, k, tolerance=self.noise, seed=seed)
