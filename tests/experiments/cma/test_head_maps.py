"""Rankings of heads by their mean scores in each stage."""

from __future__ import annotations

import numpy as np
import pytest

from finst.analysis.mediation import STAGES
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps, above_map, mean_map, stages_of
from tests.experiments import synthetic


@pytest.fixture(scope="module")
def maps() -> HeadMaps:
    return HeadMaps.of(synthetic.summary(), "c0ffee")


def test_maps_are_those_of_the_summary(maps: HeadMaps):
    summary = synthetic.summary()
    assert stages_of(summary) == list(STAGES)
    assert maps.weights == "c0ffee"
    assert maps.noise == float(summary["noise_floor"])
    for place, stage in enumerate(STAGES):
        np.testing.assert_array_equal(maps.mean[place], mean_map(summary, stage))
        np.testing.assert_array_equal(maps.above[place], above_map(summary, stage))


def test_the_strongest_heads_of_a_stage_are_those_with_planted_effects(maps: HeadMaps):
    for stage, effects in synthetic.STAGED.items():
        planted = [at for at, effect in sorted(effects.items(), key=lambda item: -item[1]) if effect > 0]
        top = maps.top(stage, len(planted), seed=0)
        assert list(top.heads) == planted
        assert not top.warning
    assert maps.top("id_selection", 3, seed=0).warning


def test_the_strongest_of_all_stages(maps: HeadMaps):
    assert maps.strongest(3, seed=0).heads == ((7, 3), (5, 2), (6, 0))
    largest = maps.mean.max(0)
    weakest = {tuple(int(i) for i in at) for at in np.argwhere(largest <= np.sort(largest, axis=None)[3])}
    assert set(maps.weakest(4, seed=0).heads) == weakest


def test_unknown_stages_are_refused(maps: HeadMaps):
    with pytest.raises(FinstError, match="unknown stage 'selection': expected one of id_retrieval"):
        maps.top("selection", 1, seed=0)
