"""Repeats by either rule, in all pictures once, on the reporting half, and by split."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from finst.errors import FinstError
from finst.experiments.interventions.coco.report import RULES, left_out
from finst.experiments.interventions.coco.summary import repeats, summary_of


def answered(kept: int = 6, count: int = 8) -> xr.Dataset:
    """Some pictures in two splits; with K = 2 the strongest heads repeat the first thing's head noun."""
    texts = np.full((count, 2, 2, 2), " cat", dtype=object)
    texts[:, :, 0, 1] = " dog on a bench"
    target = np.array([[True, False]] * (count // 2) + [[False, True]] * (count // 2))
    texts[~target] = ""
    reason = np.where(np.arange(count) < kept, "", "unreadable")
    return xr.Dataset(
        {
            "said": (("trial", "split", "set", "k"), texts.astype(str)),
            "said_before": ("trial", np.full(count, " cat")),
            "first": ("trial", np.full(count, "dog")),
            "second": ("trial", np.full(count, "cat")),
            "reason": ("trial", reason),
            "target": (("trial", "split"), target),
            "picture": ("trial", [f"{index}.jpg" for index in range(count)]),
        },
        coords={"trial": np.arange(count), "split": [1, 2], "set": ["top", "random 0"], "k": [1, 2]},
    )


def test_a_repeat_is_the_same_phrase_or_the_same_head_noun():
    texts = xr.DataArray([" dog on a bench 3. a", " dog", " cat"], dims="trial")
    found = repeats(texts, xr.DataArray(["dog", "dog", "dog"], dims="trial"))
    assert found["match"].values.tolist() == [*RULES]
    assert found.values.tolist() == [[False, True, False], [True, True, False]]


def test_every_picture_counts_once_and_k_is_selected_on_one_half():
    found = summary_of(answered(12, 16), 0, 0.05)
    assert found["chosen_k"].sel(match="lenient") == 2
    after = found["after"].sel(match="lenient", set="top", k=2)
    assert {str(group): float(after.sel(group=group)) for group in found["group"].values} == {
        "all": 1,
        "reporting": 1,
        "split 1": 1,
        "split 2": 1,
    }
    n = found["n"].sel(match="lenient", set="top", k=2)
    assert n.values.tolist() == [12, 6, 8, 4]
    assert found["told"].values.tolist() == [*range(12)]
    assert float(found["after"].sel(match="exact").max()) == 0
    assert found["own_k"].sel(match="lenient").values.tolist() == [2, 1]
    assert float(found["lead"].sel(match="lenient", set="random 0")) == 1
    assert found["stays"].sel(set="top").values.tolist() == [1, 0]


def test_a_split_without_a_target_is_refused():
    with pytest.raises(FinstError, match=r"4 targets are left .* one in each split"):
        summary_of(answered(kept=4), 0, 0.05)


def test_pictures_that_are_left_out_are_counted_and_damaged_files_listed():
    counted, files = left_out(answered(kept=1))
    assert counted == "7 of 8 pictures are left out: 7 unreadable"
    assert files.endswith("1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg, 6.jpg, 7.jpg")
    assert len(left_out(answered(kept=8))) == 1
