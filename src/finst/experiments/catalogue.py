"""All interventions by name: what runs them, checks them, and puts their effects into one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from finst.experiments.base import Intervention
from finst.experiments.coco import Coco, CocoSpec
from finst.experiments.counting import Counting, CountingSpec
from finst.experiments.frame_patch import FramePatch, FramePatchSpec
from finst.experiments.heads import HeadMaps
from finst.experiments.intervention import InterventionSpec
from finst.experiments.key_swap import KeySwap, KeySwapSpec
from finst.experiments.photoreal import Photoreal
from finst.experiments.photoreal_design import PhotorealSpec
from finst.experiments.rescue import Rescue, RescueSpec
from finst.experiments.reuse import Reuse, ReuseSpec
from finst.experiments.transfer import Transfer, TransferSpec


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
