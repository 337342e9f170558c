"""All interventions by name: what runs them, checks them, and puts their effects into one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.coco.experiment import Coco, CocoSpec
from finst.experiments.interventions.counting.experiment import Counting, CountingSpec
from finst.experiments.interventions.frame_patch.experiment import FramePatch, FramePatchSpec
from finst.experiments.interventions.key_swap.experiment import KeySwap, KeySwapSpec
from finst.experiments.interventions.photoreal.design import PhotorealSpec
from finst.experiments.interventions.photoreal.experiment import Photoreal
from finst.experiments.interventions.rescue.experiment import Rescue, RescueSpec
from finst.experiments.interventions.reuse.experiment import Reuse, ReuseSpec
from finst.experiments.interventions.spec import InterventionSpec
from finst.experiments.interventions.transfer.experiment import Transfer, TransferSpec
from finst.runs.experiment import Intervention


@dataclass(frozen=True)
class Entry:
    """An experiment that edits heads of causal mediation."""

    kind: Callable[[HeadMaps | None], Intervention[Any]]
    """Makes it, with the heads or, for whatever needs none, without."""
    spec: type[InterventionSpec]


INTERVENTIONS: Mapping[str, Entry] = MappingProxyType(
    {
        entry.kind(None).name: entry
        for entry in (
            Entry(Photoreal, PhotorealSpec),
            Entry(Reuse, ReuseSpec),
            Entry(KeySwap, KeySwapSpec),
            Entry(FramePatch, FramePatchSpec),
            Entry(Transfer, TransferSpec),
            Entry(Rescue, RescueSpec),
            Entry(Counting, CountingSpec),
            Entry(Coco, CocoSpec),
        )
    }
)
