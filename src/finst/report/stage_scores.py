"""The scores of all heads in one stage, with their statistics, as plain numbers for a page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class StageScores:
    """One stage: the scores of every head in logits, and their statistics."""

    key: str
    name: str
    colour: str
    marker: str
    """Bokeh's name of the marker of a sample."""
    mean: Float[np.ndarray, "layer head"]
    standard_error: Float[np.ndarray, "layer head"]
    ci_low: Float[np.ndarray, "layer head"]
    ci_high: Float[np.ndarray, "layer head"]
    p_fwer: Float[np.ndarray, "layer head"]
    """Family-wise p over the stage's map."""
    rank: Int[np.ndarray, "layer head"]
    """1 for the largest mean; 0 for a head without one."""
    above: Bool[np.ndarray, "layer head"]
    """Whether the head is above the noise."""
    scores: Float[np.ndarray, "sample layer head"]
    used: Bool[np.ndarray, "sample"]
    """The samples that the statistics are over."""
