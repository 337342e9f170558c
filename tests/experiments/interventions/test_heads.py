"""Sets of heads and their controls, and the rows that edit them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from finst.analysis.mediation import STAGES
from finst.cli.effects import interventions
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.heads import (
    HeadSets,
    check_sizes,
    extremes_of,
    head_sets_of,
    names_of,
    rows_by_size,
    sizes_of,
    warnings_of,
    with_unedited,
)
from finst.experiments.interventions.reuse.spec import ReuseSpec
from finst.vlm.open import open_reader


def test_sets_of_heads_and_their_controls():
    mean = np.zeros((3, 4, 5))
    mean[1, 2, 3], mean[1, 3, 0], mean[1, 0, 1] = 3, 2, 1
    maps = HeadMaps("x", mean, mean > 1.5, noise=0.1)
    top, *controls = head_sets_of(maps, "id_selection", (1, 2, 5), 2, seed=0)
    assert top.sets[:2] == (((2, 3),), ((2, 3), (3, 0)))
    assert top.texts[:2] == ("L2H3", "L2H3 L3H0")
    assert set(top.sets[1]) < set(top.sets[2])
    assert names_of(controls) == ["random 0", "random 1", "layer-matched 0", "layer-matched 1"]
    assert all([len(heads) for heads in sets.sets] == [1, 2, 5] for sets in controls)
    for control in controls:
        assert all(not set(own) & set(chosen) for own, chosen in zip(control.sets, top.sets, strict=True))
    for matched in controls[2:]:
        assert [layer for layer, _ in matched.sets[1]] == [2, 3]
        assert not set(matched.sets[1]) & set(top.sets[1])
    warnings = warnings_of(maps, "id_selection", (1, 2, 5), seed=0)
    assert warnings[:2] == ("", "")
    assert all(number in warnings[2] for number in ("17 heads", "2 of them", "only 2 heads", " 5 "))


def test_heads_are_ranked_by_the_largest_of_their_scores():
    mean = np.zeros((len(STAGES), 2, 3))
    mean[0, 0, 1], mean[1, 1, 2], mean[2, 1, 0] = 3, 1, 2
    mean[1, 0, 1], mean[0, 0, 0], mean[:, 1, 1] = -9, -1, -2
    maps = HeadMaps("x", mean, mean > 1.5, noise=0.01)
    top, bottom, *drawn = extremes_of(maps, (1, 2, 3), 2, seed=0)
    assert top.sets[2] == ((0, 1), (1, 0), (1, 2))
    assert bottom.sets[0] == ((1, 1),)
    assert set(bottom.sets[2]) == {(1, 1), (0, 0), (0, 2)}
    assert all(
        not set(own) & set(strongest) for sets in drawn for own, strongest in zip(sets.sets, top.sets, strict=True)
    )
    assert names_of(drawn) == ["random 0", "random 1"]
    assert drawn[0].sets != drawn[1].sets
    assert all(number in maps.strongest(3, 0).warning for number in ("only 2 heads", " 3 "))
    assert all(number in maps.weakest(2, 0).warning for number in ("2 heads", "1 of them"))


def test_rows_replace_values_by_size_or_add_every_dose():
    values = torch.arange(24.0).reshape(2, 1, 3, 4)
    sets = HeadSets("top", (((0, 1),), ((0, 1), (1, 2))))
    replaced = with_unedited(rows_by_size(values, (7,), sets)).blocks["z"]
    assert replaced.row.tolist() == [1, 2, 2]
    assert replaced.pos.tolist() == [7, 7, 7]
    assert not replaced.adds.any()
    torch.testing.assert_close(replaced.value, torch.stack([values[0, 0, 1], values[0, 0, 1], values[1, 0, 2]]))
    added = with_unedited(rows_by_size(values, (7,), sets, (1.0, 3.0), "feature_retrieval"))
    assert added.count == 5
    block = added.blocks["q"]
    assert block.adds.all()
    torch.testing.assert_close(block.value[block.row == 2], 3 * values[0, 0, 1][None])
    torch.testing.assert_close(block.value[block.row == 4], 3 * torch.stack([values[0, 0, 1], values[1, 0, 2]]))


@pytest.mark.parametrize(
    ("ks", "message"),
    [
        ((), "expected one or more different numbers of heads"),
        ((2, 2), "expected one or more different numbers of heads"),
        ((0,), "ks holds 0"),
        ((1, 10_000), "ks holds 10000: .* has 48 heads"),
        ((24, 25), "ks holds 25: .* has 48 heads, so expected numbers from 1 to 24, half of them"),
    ],
)
def test_sizes_are_those_of_the_model(ks: Any, message: str):
    with pytest.raises(FinstError, match=message):
        check_sizes(ks, open_reader("organism"))


def test_the_weakest_are_none_of_the_strongest_even_where_all_tie():
    maps = HeadMaps("x", np.zeros((len(STAGES), 4, 6)), np.zeros((len(STAGES), 4, 6), dtype=bool), noise=0.01)
    for seed in range(10):
        top, bottom, *_ = extremes_of(maps, (3, 12), 1, seed)
        assert all(not set(weak) & set(strong) for weak, strong in zip(bottom.sets, top.sets, strict=True))


@pytest.mark.parametrize(("heads", "kept"), [(80, 7), (79, 6), (48, 6), (12, 4), (4, 2), (2, 1)])
def test_the_default_grid_is_cut_at_half_of_all_heads_and_one_of_ones_own_is_not(heads: int, kept: int):
    assert sizes_of(ReuseSpec(), heads) == ReuseSpec.ks[:kept]
    assert sizes_of(ReuseSpec(ks=(1, 60)), heads) == (1, 60)
    assert sizes_of(ReuseSpec(), 1) == ReuseSpec.ks  # nothing would be left: refused


@pytest.mark.parametrize("experiment", [*interventions().values()], ids=[*interventions()])
def test_sets_of_more_than_half_of_all_heads_are_refused_before_weights_load(experiment: Any):
    """The organism has 48 heads."""
    field = "k" if "k" in {each.name for each in fields(experiment.spec)} else "ks"
    reader = open_reader("organism")
    for wrong, right in ((25, 24), (48, 1)):
        values = [number if field == "k" else (number,) for number in (wrong, right)]
        with pytest.raises(FinstError, match=rf"{field} holds {wrong}: organism has 48 heads, .* from 1 to 24"):
            experiment.check(experiment.spec(**{field: values[0]}), reader)
        experiment.check(experiment.spec(**{field: values[1]}), reader)
