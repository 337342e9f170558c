"""What all experiments share: checks, division into units, joining and describing data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from finst.errors import FinstError
from finst.experiments.units import check_numbers, documented, joined, spec_attrs, square, units_of
from finst.scenes.object import Grid


@dataclass(frozen=True)
class Settings:
    trials: int = 3
    alpha: float = 0.05
    ks: tuple[int, ...] = (1, 2)
    folder: Path = Path("runs")


def part(*trials: int) -> xr.Dataset:
    data = {"score": ("trial", np.array(trials) * 2.0), "heads": ("k", np.array([7, 8]))}
    return xr.Dataset(data, coords={"trial": list(trials)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(trials=0), "trials is 0: expected at least 1"),
        (Settings(alpha=0.0), "alpha is 0.0: expected an error rate between 0 and 1"),
        (Settings(alpha=1.0), "alpha is 1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: Settings, message: str):
    check_numbers(Settings(), {"trials": 1})
    with pytest.raises(FinstError, match=message):
        check_numbers(settings, {"trials": 1})


def test_units_are_consecutive_and_the_last_one_is_what_remains():
    units = units_of(7, 3, "pairs")
    assert [unit.trials for unit in units] == [(0, 1, 2), (3, 4, 5), (6,)]
    assert [unit.name for unit in units] == ["pairs 0-2", "pairs 3-5", "pairs 6-6"]
    assert units_of(0, 3) == ()


def test_parts_are_joined_in_order_and_what_they_share_is_kept_once():
    data = joined([part(3, 4), part(0, 1, 2)])
    assert data["trial"].values.tolist() == [0, 1, 2, 3, 4]
    assert data["score"].values.tolist() == [0, 2, 4, 6, 8]
    assert data["heads"].dims == ("k",)


def test_variables_are_documented_in_place():
    data = part(0)
    assert documented(data, {"score": ("logits", "change of the score")}) is data
    assert data["score"].attrs == {"units": "logits", "long_name": "change of the score"}
    assert data["heads"].attrs == {}


def test_attributes_of_a_spec_are_plain():
    assert spec_attrs(Settings()) == {"trials": 3, "alpha": 0.05, "ks": [1, 2], "folder": "runs"}


def test_square_grids_are_those_of_the_paper():
    assert square("3x3") == Grid(3, 3)
    for text in ("2x3", "4x4"):
        with pytest.raises(FinstError, match=f"grid is {text}: expected 2x2 or 3x3"):
            square(text)
