"""Grids of shares, shares with intervals, and the axis over K."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from finst.experiments.interventions.effects import effects
from finst.experiments.interventions.figures import draws_of, heat, over_ks, points
from finst.report.curves import ORANGE
from finst.report.figures import canvas


def test_draws_of_a_kind_are_its_numbered_sets():
    data = xr.Dataset(coords={"set": ["top", "random 0", "random direction 0", "random 1"]})
    assert draws_of(data, "top") == ["top"]
    assert draws_of(data, "random") == ["random 0", "random 1"]
    assert draws_of(data, "random direction") == ["random direction 0"]


def test_a_grid_has_a_cell_for_every_k_and_dose_and_a_frame_around_the_chosen_one():
    axes = canvas(2, 2).subplots()
    shares = xr.DataArray(
        [[0.0, 0.5, 1.0], [0.25, 0.1, 0.75]], dims=("k", "dose"), coords={"k": [1, 20], "dose": [0.5, 1, 2]}
    )
    heat(axes, shares.transpose("dose", "k"), {"k": 20, "dose": 2})
    assert [text.get_text() for text in axes.texts] == ["0", "50", "100", "25", "10", "75"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "20"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.5", "1", "2"]
    assert axes.patches[0].get_xy() == (1.5, 0.5)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("line", [False, True])
def test_points_show_shares_and_join_them_only_where_asked(line: bool):
    axes = canvas(2, 2).subplots()
    hits = xr.DataArray(np.arange(8).reshape(2, 4) < 3, dims=("k", "trial"), coords={"k": [1, 2]})
    found = effects(xr.zeros_like(hits.isel(k=0)), hits, (), 0.95).sel(group="all")
    points(axes, np.array([1.0, 2.0]), found, "after", ORANGE, "after", line=line)
    assert axes.lines[0].get_ydata().tolist() == [0.75, 0]  # pyright: ignore[reportAttributeAccessIssue]
    assert len(axes.lines) == 1 + line


def test_the_axis_over_k_begins_with_no_edit():
    axes = canvas(2, 2).subplots()
    assert over_ks(axes, [1, 5, 20], chosen=5).tolist() == [1, 2, 3]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "5", "20"]
    assert axes.lines[0].get_xdata() == [2, 2]
