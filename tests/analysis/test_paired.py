"""The score interval of a paired difference: by an independent twin, and where it leaves out 0."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finst.analysis.paired import paired_interval, told_apart
from finst.errors import FinstError

Z = NormalDist().inv_cdf(0.975)


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int]:
    trials = draw(st.integers(1, 60))
    gained = draw(st.integers(0, trials))
    return gained, draw(st.integers(0, trials - gained)), trials


@settings(max_examples=150, deadline=None)
@given(counts())
def test_the_interval_holds_the_difference_and_leaves_out_0_exactly_where_two_shares_can_be_told_apart(
    found: tuple[int, int, int],
):
    gained, lost, trials = found
    low, high = paired_interval(*found)
    assert -1 <= low <= (gained - lost) / trials <= high <= 1
    assert (low > 0 or high < 0) == told_apart(np.array([gained]), np.array([lost])).item()
    assert paired_interval(lost, gained, trials) == pytest.approx((-high, -low), abs=1e-9)
    wider = paired_interval(*found, 0.99)
    assert wider[0] <= low
    assert wider[1] >= high


def likeliest(gained: int, lost: int, trials: int, difference: float) -> float:
    """The share of lost trials that is most likely given a difference, by trying many."""
    grid = np.linspace(max(0.0, -difference), (1 - difference) / 2, 20001)[1:-1]
    same = 1 - difference - 2 * grid
    logs = gained * np.log(grid + difference) + lost * np.log(grid) + (trials - gained - lost) * np.log(same)
    return float(grid[logs.argmax()])


@pytest.mark.parametrize("found", [(12, 2, 50), (9, 0, 10), (1, 7, 24), (3, 3, 12), (20, 8, 96)])
def test_its_ends_are_where_the_score_statistic_is_z(found: tuple[int, int, int]):
    gained, lost, trials = found
    for end, sign in zip(paired_interval(*found), (1, -1), strict=True):
        rarer = likeliest(*found, end)
        statistic = (gained - lost - trials * end) / sqrt(trials * (2 * rarer + end * (1 - end)))
        assert statistic == pytest.approx(sign * Z, abs=2e-3)


def test_four_trials_that_change_in_one_direction_are_enough_and_three_are_not():
    assert told_apart(np.array([3, 4, 0, 4, 50]), np.array([0, 0, 4, 1, 60])).tolist() == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert paired_interval(0, 0, 20)[0] < 0 < paired_interval(0, 0, 20)[1]  # no change leaves some uncertainty


@pytest.mark.parametrize(("gained", "lost", "share"), [(0.3, 0.1, 0.9), (0.1, 0.1, 0.9), (0.5, 0.02, 0.9)])
def test_it_covers_the_truth_as_often_as_it_says(gained: float, lost: float, share: float):
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(40, [gained, lost, 1 - gained - lost], 400)
    ends = np.array([paired_interval(int(g), int(b), 40, share) for g, b, _ in drawn])
    covered = ((ends[:, 0] <= gained - lost) & (gained - lost <= ends[:, 1])).mean()
    assert share - 0.05 < covered < share + 0.06


@pytest.mark.parametrize("found", [(1, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_counts_that_are_no_part_of_the_trials_are_refused(found: tuple[int, int, int]):
    with pytest.raises(FinstError, match="expected parts of the trials"):
        paired_interval(*found)


def test_a_level_that_is_none_is_refused():
    with pytest.raises(FinstError, match="a confidence level lies between 0 and 1"):
        told_apart(np.array([1]), np.array([0]), 1.0)
