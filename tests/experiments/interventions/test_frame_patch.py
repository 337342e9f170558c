"""Frames patched into each other: the rivals of a picture, and which of them a summary finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from finst.experiments.interventions.frame_patch import experiment as frame_patch
from finst.experiments.interventions.frame_patch.experiment import FramePatch
from finst.scenes.object import Scene
from finst.scenes.sets import absolute
from tests.experiments.interventions.test_interventions import FRAMES


def test_the_other_picture_leaves_a_relative_and_an_absolute_rival():
    pairs = frame_patch.pairs_of(FRAMES)
    assert len(pairs) == 24
    for pair in pairs:
        cells = [absolute(obj) for obj in pair.scene.objects]
        source = next(obj for obj in pair.source.objects if absolute(obj) == (1, 1))
        assert pair.source_prompt.answer == source.name
        assert cells[pair.absolute] == (1, 1)

        def place(scene: Scene, cell: tuple[int, int]) -> tuple[int, int]:
            rows, cols = zip(*(absolute(obj) for obj in scene.objects), strict=True)
            return cell[0] - min(rows), cell[1] - min(cols)

        assert place(pair.scene, cells[pair.relative]) == place(pair.source, (1, 1))
        described = {span.object for span in pair.prompt.spans}
        assert described == set(range(4)) - {pair.relative, pair.absolute}
        assert not {obj.colour for obj in pair.source.objects} & {obj.colour for obj in pair.scene.objects}
    wheres = [tuple(sorted(absolute(obj) for obj in pair.source.objects)) for pair in pairs]
    assert {wheres.count(where) for where in wheres} == {6}


def test_a_model_of_relative_places_is_found_at_the_k_that_moves_most():
    spec = replace(FRAMES, trials=4)
    count = len(frame_patch.pairs_of(spec))
    sets = ["top", "random 0", "layer-matched 0"]
    before = np.arange(count) // 12 % 2  # relative and absolute in turn
    answers = xr.DataArray(
        np.broadcast_to(before[:, None, None], (count, 3, 2)).copy(),
        dims=("trial", "set", "k"),
        coords={"set": sets, "k": [1, 3]},
    )
    answers.loc[{"set": "top", "k": 3}] = 0
    arrangements = [frame_patch._named(index) for index in range(count)]
    rest: dict[str, Any] = {"said_before": ("trial", before), "source_right": ("trial", np.full(count, True))}
    rest |= {"heads": (("set", "k"), np.full((3, 2), "L0H0")), "warning": ("k", ["", ""])}
    coords: dict[str, Any] = {"trial": np.arange(count), "arrangements": ("trial", arrangements)}
    found = FramePatch().summarise(spec, [xr.Dataset({"said": answers, **rest}, coords=coords)])
    assert int(found["chosen_k"]) == 3
    top = found.sel(set="top", k=3)
    assert top["after"].sel(named="relative").values.tolist() == [1, 1, 1]
    assert top["after"].sel(named="absolute").values.tolist() == [0, 0, 0]
    assert top["n"].isel(named=0).values.tolist() == [24, 16, 8]
    assert float(top["rival"].sel(group="all")) == pytest.approx(2 / 2**24)
    assert float(found["moved"].sel(set="random 0").max()) == 0
    assert "100.0% name the object at the same relative cell" in FramePatch().account(found).headline
