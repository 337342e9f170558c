"""Edits repeated at generated tokens, and edits sorted by forward pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finst.engine.decode_steps import by_step, picked, sustained
from finst.engine.edits import Edit, Rows, rows_from, unedited
from finst.errors import FinstError

LENGTH = 5


def rows() -> Rows:
    """An unedited row; a row with edits at positions 2 and 4 (the last) of ``z``; a row with one of ``resid`` at 4."""
    z = [Edit(0, (1,), (2, 4), torch.tensor([[[1.0]], [[2.0]]]))]
    return unedited() + rows_from([tuple(z)]) + rows_from([(Edit(1, (), (4,), torch.tensor([3.0]), "resid", "add"),)])


def test_the_last_position_is_repeated_by_default() -> None:
    repeated = sustained(rows(), LENGTH, [0, 2])
    z, resid = repeated.blocks["z"], repeated.blocks["resid"]
    assert (z.pos.tolist(), z.value[:, 0].tolist()) == ([2, 4, 5, 7], [1, 2, 2, 2])
    assert (resid.pos.tolist(), resid.adds.tolist()) == ([4, 5, 7], [True] * 3)
    assert (z.row.tolist(), resid.row.tolist()) == ([1] * 4, [2] * 3)
    assert repeated.count == 3


def test_another_position_can_be_repeated() -> None:
    repeated = sustained(rows(), LENGTH, [1], from_position=2)
    assert repeated.blocks["z"].pos.tolist() == [2, 4, 6]
    assert repeated.blocks["resid"].pos.tolist() == [4]


def test_no_steps_and_no_edits_change_nothing() -> None:
    assert sustained(rows(), LENGTH, []).blocks["z"].pos.tolist() == [2, 4]
    assert sustained(unedited(2), LENGTH, [0, 1]).blocks == {}


def test_refusals() -> None:
    with pytest.raises(FinstError, match="got step -1"):
        sustained(rows(), LENGTH, [0, -1])
    with pytest.raises(FinstError, match="position 3"):
        sustained(rows(), LENGTH, [0], from_position=3)


def test_each_forward_pass_has_its_edits() -> None:
    parts = by_step(sustained(rows(), LENGTH, [0, 2]), LENGTH, 5)
    assert [sorted(part) for part in parts] == [["resid", "z"], ["resid", "z"], [], ["resid", "z"], []]
    assert [part["z"].pos.tolist() if part else [] for part in parts] == [[2, 4], [5], [], [7], []]
    assert [part["resid"].value[:, 0].tolist() for part in parts if part] == [[3], [3], [3]]


def test_picked_edits_keep_their_order_and_values() -> None:
    block = rows().blocks["z"]
    chosen = picked(block, np.array([1, 0]), np.array([9, 8]))
    assert (chosen.pos.tolist(), chosen.value[:, 0].tolist(), chosen.head.tolist()) == ([9, 8], [2, 1], [1, 1])
