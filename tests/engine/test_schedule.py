"""The plan of a walk, on examples that can be checked with pencil and paper."""

from __future__ import annotations

import numpy as np
import torch

from finst.engine.edits import Edit, Rows, rows_from, unedited
from finst.engine.reads import Read, cells
from finst.engine.schedule import Bundle, chunks, first_layers, firsts, plan, touches

LAYERS, LENGTH = 3, 6


def edited(layer: int, position: int) -> Rows:
    return rows_from([(Edit(layer, (0,), (position,), torch.zeros(1)),)])


def test_rows_are_touched_where_they_are_edited_or_read() -> None:
    rows = edited(2, 4) + unedited() + edited(1, 5)
    touched = touches(rows)
    assert touched.edited.tolist() == [True, False, True]
    assert first_layers(touched, LAYERS).tolist() == [2, 0, 1]
    assert firsts(touched, LENGTH).tolist() == [4, 4, 5], "an unedited row begins with the earliest other row"
    read = touches(rows, [("z", cells(Read("z", (0,), (3,), rows=(2,)), 3))])
    assert first_layers(read, LAYERS).tolist() == [2, 0, 0]
    assert firsts(read, LENGTH).tolist() == [4, 3, 3]


def test_an_edit_of_the_residual_stream_acts_on_the_next_layer() -> None:
    rows = rows_from([(Edit(1, (), (4,), torch.zeros(1), "resid"),)])
    assert first_layers(touches(rows), LAYERS).tolist() == [2]


def test_rows_without_edits_alone_carry_the_last_token() -> None:
    assert firsts(touches(unedited(2)), LENGTH).tolist() == [5, 5]


def test_rows_join_at_their_first_layer_behind_those_that_have_joined() -> None:
    """Two rows of width 2 join at layers 2 and 1: the second is the first on the token axis."""
    schedule = plan(touches(edited(2, 4) + edited(1, 4)), LAYERS, LENGTH)
    (group,) = schedule.groups
    assert (group.context, group.first, group.width) == (0, 4, 2)
    assert group.rows.tolist() == [1, 0]
    assert group.joined.tolist() == [0, 1, 2, 2]
    assert [step.places.tolist() for step in schedule.steps] == [[], [4, 5], [4, 5, 4, 5], [4, 5, 4, 5]]
    # Joining tokens come from the clean context's, which are counted after the tokens of the step before.
    sources = [None if step.sources is None else step.sources.tolist() for step in schedule.steps]
    assert sources == [None, [4, 5], [0, 1, 2 + 4, 2 + 5], None]
    assert schedule.last.tolist() == [3, 1]
    assert schedule.tokens(np.array([0, 1]), np.array([2, 2]), np.array([5, 4])).tolist() == [3, 0]


def test_contexts_with_equal_rows_are_one_bundle() -> None:
    rows = sum((edited(0, 4).on(context) for context in range(1, 3)), edited(0, 4))
    schedule = plan(touches(rows), LAYERS, LENGTH)
    assert all(step.bundles == (Bundle(slice(0, 3, 1), 4, 2, 0, 6),) for step in schedule.steps)
    assert schedule.steps[0].places.tolist() == [4, 5, 10, 11, 16, 17]
    spaced = plan(touches(edited(0, 4) + edited(0, 4).on(2)), LAYERS, LENGTH)
    assert spaced.steps[0].bundles == (Bundle(slice(0, 3, 2), 4, 2, 0, 4),)


def test_groups_that_differ_are_separate_bundles() -> None:
    for other in (edited(0, 5).on(1), (edited(0, 4) + edited(0, 4)).on(1)):
        assert len(plan(touches(edited(0, 4) + other), LAYERS, LENGTH).steps[0].bundles) == 2
    uneven = edited(0, 4) + edited(0, 4).on(1) + edited(0, 4).on(3)
    assert [bundle.contexts for bundle in plan(touches(uneven), LAYERS, LENGTH).steps[0].bundles] == [
        slice(0, 2, 1),
        slice(3, 4, 1),
    ]


def test_no_rows_need_no_walk() -> None:
    assert list(chunks(touches(unedited(0)), LAYERS, LENGTH, 10)) == []


def test_chunks_take_rows_by_first_layer_as_long_as_they_fit() -> None:
    rows = edited(2, 4) + edited(0, 3) + edited(1, 5) + edited(0, 5)
    parts = [part.tolist() for part in chunks(touches(rows), LAYERS, LENGTH, 4)]
    assert parts == [[1, 3], [2, 0]]
    assert [part.tolist() for part in chunks(touches(rows), LAYERS, LENGTH, 1)] == [[1], [3], [2], [0]]
