"""Interventions at a tiny size, and what their tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

from finst.analysis.mediation import STAGES
from finst.engine import hooks
from finst.engine.edits import Rows
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.counting.spec import CountingSpec
from finst.experiments.interventions.decoding import decode_with_edits
from finst.experiments.interventions.estimates import Prototypes
from finst.experiments.interventions.frame_patch.spec import FramePatchSpec
from finst.experiments.interventions.key_swap.spec import KeySwapSpec
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.experiments.interventions.rescue.spec import RescueSpec
from finst.experiments.interventions.reuse.spec import ReuseSpec
from finst.experiments.interventions.transfer.spec import TransferSpec
from finst.runs.experiment import Unit
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM

REUSE = ReuseSpec(trials=2, estimation=1, ks=(1, 3), doses=(1.0, 4.0), draws=1, device="cpu", dtype="float64")
SWAP = KeySwapSpec(trials=8, estimation=4, k=3, doses=(2.0,), draws=1, device="cpu", dtype="float64")
STEER = PhotorealSpec(trials=8, estimation=4, ks=(1, 3), doses=(1.0, 4.0), draws=1, device="cpu", dtype="float64")
FRAMES = FramePatchSpec(trials=2, ks=(1, 3), draws=1, device="cpu", dtype="float64")
TRANSFER = TransferSpec(trials=8, estimation=16, ks=(1, 3), doses=(1.0, 4.0), draws=1, device="cpu", dtype="float64")
RESCUE = RescueSpec(grids=("2x2",), trials=(1,), estimation=(1,), ks=(1, 3), draws=1, device="cpu", dtype="float64")
COUNTING = CountingSpec(trials=6, ks=(1, 3), draws=2, new_tokens=4, device="cpu", dtype="float64")


def maps_of(vlm: VLM, seed: int = 0) -> HeadMaps:
    """Scores in random order, all different, for every head of a model."""
    shape = (len(STAGES), vlm.n_layers, vlm.n_heads)
    mean = np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape) / 10
    return HeadMaps(vlm.weights_hash, mean, mean > 1, noise=0.01)


def ids_of(vlm: VLM) -> Prototypes:
    """Random IDs of nine cells."""
    shape = (9, vlm.n_layers, vlm.n_heads, vlm.d_head)
    return Prototypes(torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64), (9,) * 9)


def measured(experiment: Any, vlm: VLM, spec: Any, maps: HeadMaps | None, unit: Unit | None = None) -> xr.Dataset:
    """One unit, the first by default, prepared anew."""
    unit = unit or experiment.plan(spec)[0]
    return experiment.measure(vlm, spec, unit, experiment.prepare(vlm, spec, maps))


def assert_first_tokens(vlm: VLM, context: Encoded, rows: Rows) -> None:
    """The first token of every row is that of one whole edited pass, by plain hooks and without a cache."""
    slow = hooks.counterfactuals(vlm, context, rows, None).argmax(-1)
    (texts,) = decode_with_edits(vlm, [context], [rows], batch=1, new_tokens=1)
    assert texts == [vlm.reader.tokenizer.decode([int(token)], skip_special_tokens=True) for token in slow]
