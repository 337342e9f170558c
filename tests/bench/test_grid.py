"""A grid is timed in every stage, and its rows are those of the experiment."""

from __future__ import annotations

import json

import pytest

from finst.bench.grid import grid, measured, rows_of_grid
from finst.bench.spec import BenchGrid
from finst.bench.subject import of_shape
from finst.errors import FinstError
from tests.bench.tiny import TINY

SPEC = BenchGrid(tokens=50, device="cpu", ks=(1, 4), doses=(1.0, 3.0, 10.0), repeats=1)


def test_every_stage_is_compared_with_the_same_unedited_pass() -> None:
    result = measured(of_shape(TINY, SPEC), SPEC)
    assert result["rows"] == 6
    assert list(result["ratios"]) == ["id_retrieval", "id_selection", "feature_retrieval"]
    for stage, ratio in result["ratios"].items():
        assert ratio == pytest.approx(result["seconds"][stage] / result["seconds"]["unedited"])
    json.dumps(result)


@pytest.mark.parametrize(("stage", "site"), [("id_retrieval", "z"), ("feature_retrieval", "q")])
def test_rows_are_a_grid(stage: str, site: str) -> None:
    rows = rows_of_grid(of_shape(TINY, SPEC).vlm, stage, (44, 45), SPEC)
    (block,) = rows.blocks.values()
    assert list(rows.blocks) == [site]
    assert rows.count == 6
    assert [int((block.row == row).sum()) for row in range(6)] == [2, 2, 2, 8, 8, 8]


def test_refusals() -> None:
    with pytest.raises(FinstError, match="repeats must be at least 1"):
        grid(BenchGrid(repeats=0))
    with pytest.raises(FinstError, match="ks and doses need"):
        grid(BenchGrid(doses=()))
