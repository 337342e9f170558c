"""Edits and reads of a walk at one site: replacements, then additions, then reads, in their layer only."""

from __future__ import annotations

import torch

from finst.engine.edits import Edit, Row, Rows, rows_from
from finst.engine.reads import Read, cells
from finst.engine.schedule import plan, touches
from finst.engine.site_ops import SiteOps, site_ops, writes
from finst.engine.sites import Site

LAYERS, LENGTH, CPU = 3, 5, torch.device("cpu")


def ops_of(rows: Rows, site: Site, shape: tuple[int, int], read: Read | None = None) -> tuple[SiteOps, torch.Tensor]:
    """The operations of a walk of these rows, and the tensor that the read fills."""
    taken = None if read is None else cells(read, rows.count)
    seen = torch.full((0 if taken is None else len(taken.row), *shape), torch.nan)
    reads = [] if taken is None else [(taken, seen)]
    schedule = plan(touches(rows, [(site, taken)] if taken is not None else []), LAYERS, LENGTH)
    return site_ops(site, shape, rows.blocks.get(site), reads, schedule, CPU), seen


def test_replacements_come_before_additions_whatever_their_order() -> None:
    row: Row = (
        Edit(1, (1,), (4,), torch.tensor([1.0, 2.0]), op="add", coefficient=10),
        Edit(1, (1,), (4,), torch.tensor([5.0, 5.0])),
        Edit(1, (1,), (4,), torch.tensor([1.0, 0.0]), op="add"),
        Edit(1, (0,), (3,), op="zero"),
    )
    ops, _ = ops_of(rows_from([row]), "z", (2, 2))
    x = torch.full((2, 4), 7.0)  # tokens 3 and 4 of the row, two heads of width 2 side by side
    ops.at(1, x)
    assert x.tolist() == [[0, 0, 7, 7], [7, 7, 16, 25]]


def test_other_layers_are_left_alone() -> None:
    ops, _ = ops_of(rows_from([(Edit(1, (0,), (4,), op="zero"),)]), "z", (2, 2))
    assert ops.layers == {1}
    for layer in (0, 2):
        x = torch.ones(1, 4)
        ops.at(layer, x)
        assert (x == 1).all()


def test_reads_see_edited_values_in_their_own_order() -> None:
    rows = rows_from([(Edit(1, (), (4,), torch.tensor([3.0]), "mlp_out"),)])
    ops, seen = ops_of(rows, "mlp_out", (1, 2), Read("mlp_out", (2, 1), (4, 3)))
    assert ops.layers == {1, 2}
    for layer in (1, 2):
        ops.at(layer, torch.tensor([[30.0, 30.0], [40.0, 40.0]]) + layer)
    # [layer 2, position 4], [layer 2, position 3], [layer 1, position 4 (edited)], [layer 1, position 3]
    assert seen[:, 0].tolist() == [[42, 42], [32, 32], [3, 3], [31, 31]]


def test_values_of_width_one_fill_a_head_and_take_the_dtype() -> None:
    block = rows_from([(Edit(0, (1,), (0,), torch.tensor([2.5])),)]).blocks["z"]
    x = torch.zeros(1, 2, 3, dtype=torch.bfloat16)
    writes(block, block.pos, LAYERS, CPU).at(0, x)
    assert x.tolist() == [[[0, 0, 0], [2.5, 2.5, 2.5]]]
