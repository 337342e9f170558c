"""Sets of heads and their controls, and the rows that edit them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from finst.analysis.mediation import STAGES
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.heads import (
    HeadSets,
    check_sizes,
    extremes_of,
    head_sets_of,
    names_of,
    rows_by_size,
    warnings_of,
    with_unedited,
)
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
    top, bottom, *drawn = extremes_of(maps, (1, 3, 5), 2, seed=0)
    assert top.sets[1] == ((0, 1), (1, 0), (1, 2))
    assert bottom.sets[0] == ((1, 1),)
    assert set(bottom.sets[2]) == {(1, 1), (0, 0), (0, 2), (1, 2), (1, 0)}
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
        ((1, 10_000), "ks holds 10000: .* has 80 heads"),
    ],
)
def test_sizes_are_those_of_the_model(ks: Any, message: str):
    with pytest.raises(FinstError, match=message):
        check_sizes(ks, open_reader("organism"))
