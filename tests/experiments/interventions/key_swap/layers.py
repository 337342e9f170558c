"""Edits of a made-up model whose strongest heads lie in known layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from finst.analysis.mediation import STAGES
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.key_swap.keys import KeyEdit, MeanKeys, key_edits
from finst.experiments.interventions.key_swap.spec import KeySwapSpec

LAYERS, DRAWS = 6, 5


def edits_in(holding: Sequence[int]) -> tuple[KeyEdit, ...]:
    """Of a model with one of the strongest heads of feature retrieval in each of the layers ``holding``."""
    mean = np.zeros((len(STAGES), LAYERS, 4))
    mean[STAGES.index("feature_retrieval"), list(holding), 1] = 1
    maps = HeadMaps("x", mean, mean > 0, noise=0.01)
    spec = KeySwapSpec(k=len(holding), draws=DRAWS)
    return key_edits(maps, spec, MeanKeys(torch.randn(2, LAYERS, 2, 3, generator=torch.Generator().manual_seed(0))))
