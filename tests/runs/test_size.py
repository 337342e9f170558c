"""How large a run is, and what cannot be held."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from finst.errors import FinstError
from finst.experiments.registry import REGISTRY
from finst.runs import size as sizes
from finst.runs.size import MOST_UNITS, Size, check_size, free_disk, free_memory
from tests.experiments import synthetic

SIZE = Size(1000, "pairs", 10, bytes_per_trial=1 << 20, statistics=1 << 20, smaller="fewer pairs")


def with_free(monkeypatch: pytest.MonkeyPatch, memory: int, disk: int) -> None:
    monkeypatch.setattr(sizes, "free_memory", lambda: memory)
    monkeypatch.setattr(sizes, "free_disk", lambda _: disk)


def test_a_run_that_fits_is_accepted_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, SIZE.memory, SIZE.disk)
    check_size(SIZE, tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("memory", "disk", "words"),
    [
        (SIZE.memory - 1, SIZE.disk, "1,000 pairs in 100 units need .* free; expected less, by fewer pairs"),
        (SIZE.memory, SIZE.disk - 1, "are free at .*new; expected less, by fewer pairs, or another out folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_held_is_refused_with_its_size(
    memory: int, disk: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free(monkeypatch, memory, disk)
    with pytest.raises(FinstError, match=words):
        check_size(SIZE, tmp_path / "new")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 1 << 50, 1 << 50)
    check_size(Size(MOST_UNITS), tmp_path)
    with pytest.raises(FinstError, match="make 100,001 units of 1, each of them a file: expected at most 100,000"):
        check_size(Size(MOST_UNITS + 1), tmp_path)


def test_the_disk_of_a_folder_that_is_not_there_is_that_of_its_parents(tmp_path: Path) -> None:
    assert free_disk(tmp_path / "a" / "b") > 0
    assert free_memory() > 0


@pytest.mark.parametrize("name", REGISTRY)
def test_sizes_are_those_of_the_plan(name: str) -> None:
    """The arithmetic of every experiment gives as many trials and units as its plan."""
    experiment, reader = REGISTRY[name].load(), synthetic.reader()
    for spec in (experiment.spec(), replace(experiment.spec(), seed=3)):
        size, plan = experiment.size(spec, reader), experiment.plan(spec)
        assert size.trials == sum(len(unit.trials) for unit in plan)
        assert size.units == len(plan)
        assert size.memory > 0
        assert not size.notable
