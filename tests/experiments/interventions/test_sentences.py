"""Effects in words and as rows of tables."""

from __future__ import annotations

import numpy as np
import xarray as xr

from finst.experiments.interventions.effects import effects
from finst.experiments.interventions.sentences import (
    EFFECT_COLUMNS,
    before_and_after,
    choice_of,
    control_notes,
    cut_notes,
    effect_row,
    ranking_notes,
    rows_by_set,
    setting_of,
    share_of,
    tie_notes,
)


def some() -> xr.Dataset:
    """Of ten trials half are hits after the edit of the strongest heads."""
    before = xr.DataArray(np.zeros(10, dtype=bool), dims="trial")
    hits = xr.DataArray(np.arange(20).reshape(2, 10) < 5, dims=("set", "trial"), coords={"set": ["top", "random 0"]})
    return effects(before, hits, ["a", "b"] * 5, 0.95)


def test_an_effect_as_words_and_as_a_row():
    top = some().sel(set="top", group="all")
    assert share_of(top, "after") == "50.0% [23.7%, 76.3%]"
    assert (
        before_and_after(top)
        == "0.0% [0.0%, 27.8%] before, 50.0% [23.7%, 76.3%] after, n = 10 trials, p = 0.062 against no edit"
    )
    cells = dict(zip(EFFECT_COLUMNS, effect_row(top), strict=True))
    assert cells == {
        "n": "10",
        "before": "0.0% [0.0%, 27.8%]",
        "after": "50.0% [23.7%, 76.3%]",
        "gained": "5",
        "lost": "0",
        "p against no edit": "0.062",
    }


def test_tables_have_every_group_of_the_strongest_heads_and_all_trials_of_others():
    rows = rows_by_set(some(), "label")
    assert [row[:3] for row in rows] == [
        ("label", "top", "all"),
        ("label", "top", "a"),
        ("label", "top", "b"),
        ("label", "random 0", "all"),
    ]
    assert rows[0][3:] == effect_row(some().sel(set="top", group="all"))
    assert [row[0] for row in rows_by_set(some(), main="random 0")] == ["top", *["random 0"] * 3]


def test_settings_have_whole_heads_and_short_doses():
    assert setting_of(20.0, xr.DataArray(2.0)) == "K = 20, dose 2"


def test_only_reported_sets_are_noted():
    warnings = xr.DataArray(["", "tie", "noise"], dims="k", coords={"k": [1, 2, 5]})
    assert tie_notes(warnings, [1]) == ()
    (note,) = tie_notes(warnings, [2, 1, 2])
    assert note.endswith("top 2: tie")
    assert ranking_notes({"bottom 2": "tie", "top 1": ""}) != ()


def test_how_many_settings_could_not_be_told_from_the_best_one():
    of = {equals: choice_of(xr.Dataset({"equals": equals, "tried": 49})) for equals in (1, 12, 49)}
    assert "12 settings, of 49" in of[12]
    assert "none of 49 settings can be told from the best one" in of[49]
    assert choice_of(xr.Dataset({"equals": 1, "tried": 1})) == "the only setting"
    assert choice_of(xr.Dataset()) == ""


def test_controls_that_are_not_what_they_should_be_are_noted():
    heads = xr.DataArray(
        [
            ["L0H0 L0H1", "L0H0"],
            ["L0H1 L1H0", "L1H1"],
            ["L0H2 L1H2", "L0H2"],
            ["L0H2 L0H3", "L0H1"],
            ["L0H0 L0H1", "L0H0"],
        ],
        dims=("set", "k"),
        coords={"set": ["top", "random 0", "layer-matched 0", "layer-matched 1", "random direction 0"], "k": [2, 1]},
    )
    (note,) = control_notes(heads, [2, 1, 2])
    assert "random 0 holds 1 of the 2 strongest heads" in note
    assert "1 of 2 heads of layer-matched 0 are of the nearest layers" in note
    assert "layer-matched 1" not in note
    assert control_notes(heads, [1]) == ()


def test_what_the_grid_was_cut_by_is_said():
    summary = xr.Dataset(coords={"k": [1, 5]}, attrs={"ks": [1, 5, 40]})
    (note,) = cut_notes(summary)
    assert note.startswith("K = 40 left out: more than half of all heads")
    assert cut_notes(summary.assign_attrs(ks=[1, 5])) == ()
