"""Effects in words and as rows of tables."""

from __future__ import annotations

import numpy as np
import xarray as xr

from finst.experiments.interventions.effects import effects
from finst.experiments.interventions.sentences import (
    EFFECT_COLUMNS,
    before_and_after,
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
