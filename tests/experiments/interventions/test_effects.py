"""Paired effects: halves, settings selected on one of them, and shares of the same trials by group."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from finst.analysis.paired import paired_interval
from finst.analysis.proportions import mcnemar
from finst.experiments.interventions.effect_rows import DOCUMENTATION, EFFECTS, LEAD
from finst.experiments.interventions.effects import chosen_settings, effects, leads, selected_effects, selection_split


def test_halves_take_half_of_every_group():
    groups = ["a", "b", "c"] * 7
    half = selection_split(groups, seed=1)
    assert [int(half[np.array(groups) == name].sum()) for name in "abc"] == [3, 3, 3]
    assert (half == selection_split(groups, seed=1)).all()
    assert (half != selection_split(groups, seed=2)).any()


def test_every_entry_of_other_dims_has_its_own_setting():
    """Of eight trials: at K = 1 no dose does anything in mode a, and in b dose 4 alone does everything."""
    hits = xr.DataArray(
        np.zeros((8, 2, 1, 2, 3), dtype=bool),
        dims=("trial", "mode", "set", "k", "dose"),
        coords={"mode": ["a", "b"], "set": ["top"], "k": [20, 1], "dose": [1.0, 2.0, 4.0]},
    )
    hits.loc[{"mode": "a", "k": 20, "dose": [2.0, 4.0]}] = True
    hits.loc[{"mode": "b", "dose": 4.0}] = True
    found = chosen_settings(hits.transpose("dose", "set", "trial", "mode", "k"), ("k", "dose"), 0.95).squeeze("set")
    assert {name: found[name].values.tolist() for name in found} == {
        "own_k": [20, 1],
        "own_dose": [2, 4],
        "equals": [2, 2],
        "tried": 6,
    }
    assert found["own_k"]["mode"].values.tolist() == ["a", "b"]


def test_a_control_is_shown_at_its_best_even_where_that_cannot_be_told_from_nothing():
    """Three of eight trials cannot be told from none: the main edit gets the smallest setting, a control its best."""
    hits = xr.DataArray(
        np.zeros((8, 2, 3), dtype=bool),
        dims=("trial", "set", "k"),
        coords={"set": ["top", "random 0"], "k": [1, 5, 20]},
    )
    hits[:3, :, 2] = True
    hits[:3, :, 1] = True
    found = chosen_settings(hits, ["k"], 0.95)
    assert found["own_k"].values.tolist() == [1, 5]
    assert found["equals"].values.tolist() == [3, 3]


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


def outcomes(seed: int, trials: int = 24) -> tuple[xr.DataArray, xr.DataArray, np.ndarray]:
    """Invented outcomes of a grid for the strongest heads and two controls, before, and a half."""
    rng = np.random.default_rng(seed)
    coords = {"set": ["top", "random 0", "random 1"], "k": [1, 5, 20], "dose": [1.0, 4.0]}
    odds = rng.random((1, *map(len, coords.values())))
    hits = xr.DataArray(rng.random((trials, *odds.shape[1:])) < odds, dims=("trial", *coords), coords=coords)
    before = xr.DataArray(rng.random(trials) < 0.1, dims="trial")
    return before, hits, selection_split(["a", "b"] * (trials // 2), seed)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_outcomes_of_the_reporting_half_never_change_a_choice_and_those_of_the_other_never_an_effect(seed: int):
    before, hits, half = outcomes(seed)
    groups = ["a", "b"] * 12
    found = selected_effects(before, hits, half, groups, 0.05)
    turned = hits.copy()
    turned[~half] = ~turned[~half]
    other = selected_effects(before, turned, half, groups, 0.05)
    for name in ("chosen_k", "chosen_dose", "own_k", "own_dose", "equals", "tried"):
        assert other[name].identical(found[name])
    turned = hits.copy()
    turned[half] = ~turned[half]
    other = selected_effects(before, turned, half, groups, 0.05)
    for name in EFFECTS:
        assert other[name].identical(found[name])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_controls_are_shown_at_the_chosen_setting_and_at_their_own_of_the_same_half(seed: int):
    before, hits, half = outcomes(seed)
    found = selected_effects(before, hits, half, ["all"] * 24, 0.05).sel(group="all")
    again = chosen_settings(hits.isel(trial=half), ("k", "dose"), 0.95)
    reported = hits.isel(trial=~half)
    chosen = {name: found[f"own_{name}"].sel(set="top").item() for name in ("k", "dose")}
    top = reported.sel(set="top", **chosen)
    assert {name: found[f"chosen_{name}"].item() for name in chosen} == chosen
    for name in hits["set"].values.tolist():
        own = {each: again[f"own_{each}"].sel(set=name).item() for each in ("k", "dose")}
        for prefix, setting in (("", chosen), ("own_", own)):
            rival = reported.sel(set=name, **setting)
            at = found.sel(set=name)
            share = at["own_after"] if prefix else at["after"].sel(setting)
            assert float(share) == float(rival.mean())
            assert float(at[f"{prefix}lead"]) == pytest.approx(float(top.mean() - rival.mean()))
            assert float(at[f"{prefix}lead_p"]) == mcnemar(rival.values, top.values).p
            counts = int((top & ~rival).sum()), int((rival & ~top).sum())
            ends = [float(at[f"{prefix}lead_{end}"]) for end in ("low", "high")]
            assert ends == pytest.approx(paired_interval(*counts, 12))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_names_of_sets_carry_nothing(seed: int):
    """Sets in another order have the same numbers under their names."""
    before, hits, half = outcomes(seed)
    found = selected_effects(before, hits, half, (["all"] * 24), 0.05)
    mixed = selected_effects(before, hits.isel(set=[2, 0, 1]), half, (["all"] * 24), 0.05)
    for name in ("own_k", "own_dose", "own_after", "lead", "lead_low", "own_lead_p", "after"):
        assert mixed[name].sel(set=found["set"]).equals(found[name])


def test_leads_are_documented():
    before, hits, _ = outcomes(0)
    found = leads(hits, before, (), 0.95)
    assert {name: found[name].attrs["units"] for name in found} == {name: LEAD[name][0] for name in LEAD}


def test_settings_are_selected_on_one_half_and_effects_are_of_the_other():
    """K = 2 is best where it is selected, and K = 1 on the other half."""
    selection = np.arange(8) < 4
    hits = xr.DataArray([[~selection, selection]], dims=("set", "k", "trial"), coords={"set": ["top"], "k": [1, 2]})
    before = xr.DataArray(np.zeros(8, dtype=bool), dims="trial")
    found = selected_effects(before, hits, selection, ["a", "b"] * 4, 0.05, settings=["k"], at_chosen=True).isel(set=0)
    assert int(found["chosen_k"]) == int(found["own_k"]) == 2
    assert found["choosing"].values.tolist() == selection.tolist()
    assert found["n"].values.tolist() == [4, 2, 2]
    assert found["after"].values.tolist() == [0, 0, 0]
    every = selected_effects(before, hits, selection, ["a", "b"] * 4, 0.05, settings=["k"]).isel(set=0)
    assert every["after"].sel(group="all").values.tolist() == [1, 0]
