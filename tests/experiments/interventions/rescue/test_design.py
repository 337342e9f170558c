"""Balanced pictures of low and high entropy, and a wrong object that differs in everything."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from finst.experiments.interventions.rescue.design import estimation_of, trials_of
from finst.scenes.sets import absolute
from tests.experiments.interventions.small import RESCUE


def test_pictures_are_balanced_and_the_wrong_object_differs_in_everything():
    spec = replace(RESCUE, grids=("2x2", "3x3"), trials=(2, 1), estimation=(1, 1))
    trials = trials_of(spec)
    assert [trial.grid for trial in trials] == ["2x2"] * 32 + ["3x3"] * 81
    for grid, times in (("2x2", 8), ("3x3", 9)):
        part = [trial for trial in trials if trial.grid == grid]
        for staged in ([trial.low for trial in part], [trial.high for trial in part]):
            assert set(Counter(absolute(each.target) for each in staged).values()) == {times}
    for trial in trials:
        side = int(trial.grid[0])
        low, high = trial.low.scene.objects, trial.high.scene.objects
        assert len({obj.name for obj in low}) == side**2
        assert len({obj.colour for obj in low}) == len({obj.shape for obj in low}) == side
        assert len({obj.colour for obj in high}) == side**2
        assert trial.wrong in low
        assert trial.wrong.colour != trial.low.target.colour
        assert trial.wrong.shape != trial.low.target.shape
    assert [len(staged) for staged in estimation_of(spec).values()] == [16, 81]
