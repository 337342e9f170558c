"""Paired effects: halves, settings selected on one of them, and shares of the same trials by group."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from finst.experiments.interventions.effect_table import DOCUMENTATION
from finst.experiments.interventions.effects import argmax_setting, effects, selected_effects, selection_split


def test_halves_take_half_of_every_group():
    groups = ["a", "b", "c"] * 7
    half = selection_split(groups, seed=1)
    assert [int(half[np.array(groups) == name].sum()) for name in "abc"] == [3, 3, 3]
    assert (half == selection_split(groups, seed=1)).all()
    assert (half != selection_split(groups, seed=2)).any()


def test_the_largest_share_is_the_smallest_edit_among_equals():
    shares = xr.DataArray(
        [[[0.1, 0.5, 0.5], [0.5, 0.2, 0.5]], [[0, 0, 0], [0, 0, 1]]],
        dims=("mode", "k", "dose"),
        coords={"mode": ["a", "b"], "k": [1, 2], "dose": [1.0, 2.0, 4.0]},
    )
    first = argmax_setting(shares.sel(mode="a"), ("k", "dose"))
    assert {name: value.item() for name, value in first.items()} == {"k": 1, "dose": 2}
    both = argmax_setting(shares.transpose("dose", "mode", "k"), ("k", "dose"))
    assert {name: value.values.tolist() for name, value in both.items()} == {"k": [1, 2], "dose": [2, 4]}
    assert both["k"]["mode"].values.tolist() == ["a", "b"]


def test_effects_are_of_the_same_trials_by_group():
    before = xr.DataArray([True, True, False, False, False, False], dims="trial")
    after = xr.DataArray(
        [[True, False, True, True, True, True], [True, True, False, False, False, False]], dims=("set", "trial")
    )
    found = effects(before, after, ["a", "a", "a", "b", "b", "b"], 0.95)
    assert found["group"].values.tolist() == ["all", "a", "b"]
    first = found.isel(set=0)
    assert first["before"].values.tolist() == [2 / 6, 2 / 3, 0]
    assert first["after"].values.tolist() == [5 / 6, 2 / 3, 1]
    assert (first["gained"].values.tolist(), first["lost"].values.tolist()) == ([4, 1, 3], [1, 1, 0])
    assert float(first["p"].sel(group="all")) == pytest.approx(12 / 32)
    assert found["p"].isel(set=1).values.tolist() == [1, 1, 1]
    assert effects(before, after, (), 0.95).identical(found.sel(group=["all"]))
    assert {name: found[name].attrs["units"] for name in found} == {k: v[0] for k, v in DOCUMENTATION.items()}


def test_settings_are_selected_on_one_half_and_effects_are_of_the_other():
    """K = 2 is best where it is selected, and K = 1 on the other half."""
    selection = np.arange(8) < 4
    hits = xr.DataArray([~selection, selection], dims=("k", "trial"), coords={"k": [1, 2]})
    before = xr.DataArray(np.zeros(8, dtype=bool), dims="trial")
    found = selected_effects(
        before, hits, selection, ["a", "b"] * 4, 0.05, criterion=hits, settings=["k"], at_chosen=True
    )
    assert int(found["chosen_k"]) == 2
    assert found["choosing"].values.tolist() == selection.tolist()
    assert found["n"].values.tolist() == [4, 2, 2]
    assert found["after"].values.tolist() == [0, 0, 0]
    every = selected_effects(before, hits, selection, ["a", "b"] * 4, 0.05, criterion=hits, settings=["k"])
    assert every["after"].sel(group="all").values.tolist() == [1, 0]
