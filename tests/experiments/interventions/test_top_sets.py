"""Sets of the strongest heads, read from summaries of interventions."""

from __future__ import annotations

from pathlib import Path

import pytest

from finst.experiments.api import load
from finst.experiments.cma.explorer.page import TopSet
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.protocol import Intervention
from finst.experiments.interventions.top_sets import ALL_STAGES, top_sets
from tests.runs.old_runs import unpacked

RETRIEVAL, SELECTION, FEATURES = (
    TopSet("ID retrieval", 1, ((2, 5),), reported=True),
    TopSet("ID selection", 1, ((3, 1),), reported=True),
    TopSet("feature retrieval", 1, ((4, 6),), reported=True),
)
"""The head that the planted model has for each stage."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photoreal", (RETRIEVAL, SELECTION, FEATURES)),
        ("transfer", (RETRIEVAL, SELECTION, FEATURES)),
        ("reuse", (SELECTION,)),
        ("frame-patch", (SELECTION,)),
        ("rescue", (SELECTION,)),
        ("coco", (SELECTION,)),
        ("key-swap", (FEATURES,)),
        ("counting", (TopSet(ALL_STAGES, 1, ((2, 5),), reported=True),)),
    ],
)
def test_every_intervention_names_the_heads_that_it_edits(
    name: str, expected: tuple[TopSet, ...], tmp_path: Path
) -> None:
    run, mediation = load(unpacked(name, tmp_path)), load(unpacked("cma", tmp_path))
    assert isinstance(run.experiment, Intervention)
    maps = HeadMaps.of(mediation.summary, mediation.manifest.model.hash)
    assert top_sets(run.experiment, run.summary, maps) == expected


def test_sizes_that_were_tried_and_not_chosen_are_not_reported(tmp_path: Path) -> None:
    run, mediation = load(unpacked("frame-patch", tmp_path)), load(unpacked("cma", tmp_path))
    two = run.summary.isel(k=[0, 0]).assign_coords(k=[1, 2])
    two["heads"] = two["heads"].astype("<U16")
    two["heads"].loc[{"set": "top", "k": 2}] = "L3H1 L5H10"
    assert isinstance(run.experiment, Intervention)
    maps = HeadMaps.of(mediation.summary, mediation.manifest.model.hash)
    assert top_sets(run.experiment, two, maps) == (
        SELECTION,
        TopSet("ID selection", 2, ((3, 1), (5, 10)), reported=False),
    )
