"""The benchmark of executors: what it counts, and what it refuses."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest
import xarray as xr

from finst.bench.executors import executors, most_at_once
from finst.bench.spec import BenchExecutors
from finst.errors import FinstError
from finst.runs.backends.backend import Begun, Measured, Progress, Work
from finst.runs.backends.here import Here
from finst.vlm.open import VLM, open_vlm
from tests.runs.toy import Toy, ToySpec
from tests.tiny import checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("bench") / "tiny"))


class Played(Here):
    """Steps that were written down."""

    def __init__(self, steps: Sequence[Progress]) -> None:
        self.steps = steps

    def measure(self, work: Work, vlm: VLM, indices: Sequence[int]) -> Generator[Progress, None, None]:
        yield from self.steps


def test_units_in_work_at_a_time_are_counted(model: str) -> None:
    vlm, done = open_vlm(model, device="cpu"), [Measured(i, xr.Dataset(), 0.0, None) for i in range(3)]
    work = Work(Toy(), ToySpec(model), Toy().plan(ToySpec(model)), None)
    assert most_at_once(Here(), work, vlm) == 1
    assert most_at_once(Played([Begun(0), Begun(1), done[1], Begun(2), done[0], done[2]]), work, vlm) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 1}, "expected at least 2 workers"),
        ({"repeats": 0}, "expected at least 2 workers, 1 repeat"),
        ({"pairs": 4, "pairs_per_unit": 4}, "1 units for 2 workers"),
        ({"pairs": 0}, "pairs is 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(model: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FinstError, match=message):
        executors(BenchExecutors(model, device="cpu", **settings))


def test_two_workers_are_compared_with_one(model: str) -> None:
    result = executors(BenchExecutors(model, device="cpu", pairs=6, repeats=2))
    assert (result["units"], result["workers"], result["repeats"]) == (6, 2, 2)
    assert result["ratio_lowest"] <= result["ratio"] <= result["ratio_highest"]
    assert result["one_worker_s"] > 0
    assert len(result["load"]) == 2
