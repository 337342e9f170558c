"""The report of accuracies: the least accurate condition, and a row and a point for every condition."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from finst.analysis.proportions import wilson
from finst.experiments.representations.accuracy import Accuracy


@pytest.fixture(scope="module")
def summary() -> xr.Dataset:
    """Two placements, one entropy, three numbers of objects."""
    accuracy = np.array([[[1.0, 0.75, 0.5]], [[1.0, 0.25, 0.5]]])
    values = {"accuracy": accuracy, "colour_accuracy": accuracy / 2 + 0.5}
    ends = {f"{name}_{end}": data for name, data in values.items() for end in ("low", "high")}
    dims = ("placement", "entropy", "objects")
    return xr.Dataset(
        {name: (dims, data) for name, data in {**values, **ends}.items()},
        coords={"placement": ["prefill", "user_turn"], "entropy": ["low"], "objects": [2, 3, 4]},
        attrs={"trials": 4, "alpha": 0.05, "leak_target_colour": False},
    )


def test_every_condition_has_a_row_and_the_least_accurate_is_named(summary: xr.Dataset):
    findings = Accuracy().report.findings(summary)
    rows = {row[:3]: row[3:] for row in findings.rows}
    assert len(rows) == 6
    assert rows["user_turn", "low", "3"][0].startswith("25.0%")
    assert rows["prefill", "low", "2"] == ("100.0% [100.0%, 100.0%]", "100.0% [100.0%, 100.0%]")
    assert f"{summary['accuracy'].values.mean():.1%}" in findings.headline
    assert "3 objects, low entropy, user_turn: 25.0%" in findings.sentences[0]


def test_no_condition_is_least_accurate_where_all_are_alike(summary: xr.Dataset):
    alike = summary.assign({name: summary[name] * 0 + 1.0 for name in summary.data_vars})
    findings = Accuracy().report.findings(alike)
    assert findings.sentences[0] == "the accuracy is 100.0% in all conditions alike"
    one = alike.isel(placement=[0], objects=[0])
    assert Accuracy().report.findings(one).sentences[0] == "the accuracy is 100.0% in the one condition"


def test_conditions_that_tie_at_the_least_are_all_named(summary: xr.Dataset):
    tied = summary.assign(accuracy=summary["accuracy"].clip(max=0.5))
    tied = tied.assign(
        accuracy=tied["accuracy"]
        .where(tied["accuracy"] < 0.5, 0.5)
        .clip(min=0.5)
        .where((tied["placement"] != "prefill") | (tied["objects"] != 2), 0.75)
    )
    text = Accuracy().report.findings(tied).sentences[0]
    assert text.startswith("least accurate (5 conditions alike): 3 objects, low entropy, prefill; ")
    assert " and 2 conditions more: 50.0% [" in text


def test_the_headline_has_n_and_intervals(summary: xr.Dataset):
    """Placements share their scenes, so these are counted once."""
    headline = Accuracy().report.findings(summary).headline
    low, high = wilson(8, 12)
    assert headline.startswith(f"66.7% [{low:.1%}, {high:.1%}] of answers")
    assert headline.endswith("(n = 12 scenes, each in 2 placements).")


def test_the_figure_has_a_point_for_every_condition(summary: xr.Dataset):
    (figure,) = Accuracy().report.figures(summary)
    table = pd.read_csv(io.StringIO(figure.csv)).set_index(["placement", "entropy", "objects"])
    assert len(table) == 6
    assert table["accuracy"].loc[("user_turn", "low", 3)] == 0.25
    assert len(figure.figure.axes) == 2
