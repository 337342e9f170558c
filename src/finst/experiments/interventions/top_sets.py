"""Which sets of the strongest heads a finished intervention edits, read from its summary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from finst.analysis.headsets import Head
from finst.experiments.cma.explorer.page import TopSet
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.protocol import Intervention
from finst.report.wording import NAMES

ALL_STAGES = "all stages"
"""What ranks heads by the largest of their scores over the stages."""


def top_sets(intervention: Intervention[Any], summary: xr.Dataset, maps: HeadMaps) -> tuple[TopSet, ...]:
    """The strongest K heads of every stage and K of an intervention's summary.

    ``maps`` are those whose heads it edits: ``key-swap`` records the keys of its heads, so its heads are ranked again.
    """
    if "set" not in summary["heads"].dims:
        (k,) = summary["k"].values.tolist()
        heads = maps.top(intervention.ranked_by, k, summary.attrs["seed"]).heads
        return (TopSet(NAMES[intervention.ranked_by], k, heads, reported=True),)
    sets = summary["heads"].sel(set="top")
    if "stage" not in sets.dims:
        ranking = NAMES.get(intervention.ranked_by, ALL_STAGES)
        return tuple(_of_stage(ranking, sets, _reported(summary)))
    stages = sets["stage"].values.tolist()
    return tuple(
        one
        for stage in stages
        for one in _of_stage(NAMES[stage], sets.sel(stage=stage), _reported(summary.sel(stage=stage)))
    )


def _of_stage(name: str, sets: xr.DataArray, reported: set[int] | None) -> Iterator[TopSet]:
    for k, text in zip(sets["k"].values.tolist(), sets.values.tolist(), strict=True):
        yield TopSet(name, k, _heads(text), reported is None or k in reported)


def _heads(text: str) -> tuple[Head, ...]:
    """The heads of a text such as ``L4H0 L5H2``."""
    return tuple((int(layer), int(head)) for layer, head in re.findall(r"L(\d+)H(\d+)", text))


def _reported(summary: xr.Dataset) -> set[int] | None:
    """The K that were chosen, under any condition; None where effects of every K are reported."""
    if "chosen_k" not in summary:
        return None
    chosen = summary["chosen_k"]
    values = (chosen.sel(set="top") if "set" in chosen.dims else chosen).values.ravel()
    return {int(k) for k in values[np.isfinite(values)]}
