"""Which rival a summary finds, at the K that moves most answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from finst.errors import FinstError
from finst.experiments.interventions.frame_patch.design import arrangements_of, pairs_of
from finst.experiments.interventions.frame_patch.experiment import FramePatch
from finst.vlm.open import open_reader
from tests.experiments.interventions.small import FRAMES


def test_a_model_of_relative_places_is_found_at_the_k_that_moves_most():
    spec = replace(FRAMES, trials=4)
    count = len(pairs_of(spec))
    sets = ["top", "random 0", "layer-matched 0"]
    before = np.arange(count) // 12 % 2  # relative and absolute in turn
    answers = xr.DataArray(
        np.broadcast_to(before[:, None, None], (count, 3, 2)).copy(),
        dims=("trial", "set", "k"),
        coords={"set": sets, "k": [1, 3]},
    )
    answers.loc[{"set": "top", "k": 3}] = 0
    arrangements = [arrangements_of(trial) for trial in range(count)]
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
    relative, absolute = FramePatch.report.effects(found)
    assert (relative.after.value, absolute.after.value, relative.setting) == (1, 0, "K = 3")
    rows = FramePatch.report.findings(found).rows
    assert [row[:3] for row in rows[:3]] == [
        ("relative", "top", "all"),
        ("absolute", "top", "all"),
        ("relative", "top", "adjacent"),
    ]
    assert len(rows) == 2 * (3 + 2)


@pytest.mark.parametrize(
    ("changes", "message"), [({"trials": 1}, "trials is 1"), ({"ks": (10_000,)}, "ks holds 10000")]
)
def test_bad_input_is_refused_before_weights_load(changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        FramePatch().check(replace(FRAMES, **changes), open_reader("organism"))
