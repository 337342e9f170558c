"""Who gets which unit, and what happens when workers are lost: with workers that are scripted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import xarray as xr

from finst.errors import FinstError
from finst.runs.backends.backend import Begun, Dropped, Measured, Progress, UnitLostError, Work
from finst.runs.backends.messages import Answer, Failed, Job, Lost, Ready
from finst.runs.backends.pool import Pool, Worker
from finst.runs.experiment import Unit
from finst.vlm.open import VLM, open_vlm
from tests.runs.toy import Toy, ToySpec
from tests.tiny import checkpoint

KILLED = Lost("killed by SIGKILL")


@dataclass(eq=False)
class Scripted:
    """Answers by the rules of its crew."""

    crew: ScriptedCrew
    number: int
    answer: Answer = field(default_factory=lambda: Ready(0))
    stopped: bool = False
    jobs: list[int] = field(default_factory=list)

    def begin(self, job: Job) -> None:
        self.jobs.append(job.number)
        self.answer = self.crew.begins(self, job)

    def measure(self, index: int) -> None:
        self.crew.asked.append((self.number, index))
        self.answer = self.crew.measures(self, index)

    def stop(self) -> None:
        self.stopped = True


class ScriptedCrew:
    """Answers come from workers in turn."""

    name = "scripted"

    def __init__(self, workers: int = 2) -> None:
        self.places = ("cpu",) * workers
        self.started: list[Scripted] = []
        self.asked: list[tuple[int, int]] = []
        self.begins: Callable[[Scripted, Job], Answer] = lambda _, job: Ready(job.number)
        self.measures: Callable[[Scripted, int], Answer] = lambda _, index: measured(index)
        self.turn = deque[Worker]()

    def devices(self, spec: Any, vlm: Any) -> tuple[str, ...]:
        return self.places

    def start(self, device: str) -> Worker:
        self.started.append(Scripted(self, len(self.started)))
        return self.started[-1]

    def first(self, workers: Sequence[Worker]) -> tuple[Worker, Answer]:
        assert workers
        new = [worker for worker in workers if worker not in self.turn]
        self.turn = deque([*(worker for worker in self.turn if worker in workers), *new])
        worker = cast(Scripted, self.turn.popleft())
        return worker, worker.answer

    def close(self) -> None:
        pass


def measured(index: int) -> Measured:
    return Measured(index, xr.Dataset(), 0.0, None)


def work(units: int) -> Work:
    return Work(Toy(), ToySpec(units=units), tuple(Unit(f"trial {i}", (i,)) for i in range(units)), None)


@pytest.fixture(scope="module", autouse=True)
def _open(tmp_path_factory: pytest.TempPathFactory) -> None:
    vlms.append(open_vlm(str(checkpoint(tmp_path_factory.mktemp("pool") / "tiny")), device="cpu"))


vlms: list[VLM] = []
"""The model that scripted workers would open."""


def all_of(pool: Pool, units: int, indices: Sequence[int] | None = None) -> list[Progress]:
    return list(pool.measure(work(units), vlms[0], range(units) if indices is None else indices))


def found(steps: Sequence[Progress], kind: type) -> list[int]:
    return [step.index for step in steps if isinstance(step, kind)]


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("units", [0, 1, 2, 5])
def test_every_unit_is_begun_and_measured_once_by_no_more_workers_than_units(workers: int, units: int) -> None:
    crew = ScriptedCrew(workers)
    steps = all_of(Pool(crew), units)
    assert found(steps, Begun) == sorted(found(steps, Measured)) == [*range(units)]
    assert len(crew.started) == min(workers, units)
    for index in range(units):
        begun, done = (next(i for i, s in enumerate(steps) if isinstance(s, k) and s.index == index)
                       for k in (Begun, Measured))  # fmt: skip
        assert begun < done


def test_only_missing_units_are_measured() -> None:
    assert sorted(found(all_of(Pool(ScriptedCrew()), 6, (1, 4, 5)), Measured)) == [1, 4, 5]


def test_workers_stay_for_the_next_job_and_end_with_the_pool() -> None:
    crew = ScriptedCrew()
    with Pool(crew) as pool:
        all_of(pool, 4)
        all_of(pool, 5)
        assert [worker.jobs for worker in crew.started] == [[1, 2], [1, 2]]
        assert not any(worker.stopped for worker in crew.started)
    assert all(worker.stopped for worker in crew.started)


def test_workers_of_other_devices_are_started_anew() -> None:
    crew = ScriptedCrew()
    pool = Pool(crew)
    all_of(pool, 2)
    crew.places = ("cpu",) * 3
    all_of(pool, 3)
    assert [worker.stopped for worker in crew.started] == [True, True, False, False, False]


def test_a_lost_worker_costs_its_unit_which_another_one_measures() -> None:
    crew = ScriptedCrew()
    lives = {1}
    crew.measures = lambda _, index: measured(index) if index not in lives else lives.discard(index) or KILLED
    steps = all_of(Pool(crew), 5)
    assert sorted(found(steps, Measured)) == [0, 1, 2, 3, 4]
    assert [step for step in steps if isinstance(step, Dropped)] == [Dropped(1, "killed by SIGKILL")]
    assert next(number for number, index in crew.asked if index == 1) in {
        worker.number for worker in crew.started if worker.stopped
    }


def test_a_unit_that_two_workers_do_not_survive_is_named() -> None:
    crew = ScriptedCrew()
    crew.measures = lambda _, index: KILLED if index == 1 else measured(index)
    steps: list[Progress] = []
    with pytest.raises(UnitLostError, match=r"^trial 1: 2 workers in turn ended .*\(killed by SIGKILL\)"):
        steps.extend(Pool(crew).measure(work(6), vlms[0], range(6)))
    assert [index for _, index in crew.asked].count(1) == 2


@pytest.mark.parametrize("place", ["start", "begin"])
def test_one_worker_may_be_lost_before_it_is_ready_and_two_in_turn_are_an_error(place: str) -> None:
    for losses in (1, 2):
        crew = ScriptedCrew(1)
        left = iter([KILLED] * losses)
        crew.begins = lambda _, job, left=left: next(left, Ready(job.number))
        if place == "start":
            start = crew.start
            crew.begins = lambda _, job: Ready(job.number)

            def losing(device: str, start: Any = start, left: Any = left) -> Worker:
                worker = start(device)
                worker.answer = next(left, Ready(0))
                return worker

            crew.start = losing
        if losses == 1:
            assert sorted(found(all_of(Pool(crew), 3), Measured)) == [0, 1, 2]
        else:
            with pytest.raises(FinstError, match="2 workers in turn ended before they had opened the model"):
                all_of(Pool(crew), 3)


def test_an_error_ends_the_job_and_the_workers_that_still_measure_and_no_others() -> None:
    crew = ScriptedCrew(3)
    crew.measures = lambda _, index: Failed(FinstError("no"), "trace") if index == 0 else measured(index)
    pool = Pool(crew)
    with pytest.raises(FinstError, match=r"^no$"):
        all_of(pool, 3)
    failed = next(number for number, index in crew.asked if index == 0)
    assert not crew.started[failed].stopped
    assert sum(worker.stopped for worker in crew.started) == len(crew.asked) - 1
    crew.measures = lambda _, index: measured(index)
    assert sorted(found(all_of(pool, 3), Measured)) == [0, 1, 2]


def test_a_late_error_about_an_earlier_job_is_no_error_of_the_next() -> None:
    crew = ScriptedCrew(2)
    crew.begins = lambda worker, job: (
        Failed(FinstError("late"), "") if worker.number == 1 and job.number == 1 else Ready(job.number)
    )
    crew.measures = lambda _, index: Failed(FinstError("early"), "")
    pool = Pool(crew)
    first = crew.first

    def second_is_slow(workers: Sequence[Worker]) -> tuple[Worker, Answer]:
        quick = [w for w in workers if cast(Scripted, w).number == 0 or cast(Scripted, w).answer == Ready(0)]
        return first(quick or workers)

    crew.first = second_is_slow
    with pytest.raises(FinstError, match="early"):
        all_of(pool, 2)
    crew.measures, crew.first = lambda _, index: measured(index), first
    assert sorted(found(all_of(pool, 4), Measured)) == [0, 1, 2, 3]


def test_leaving_early_ends_what_is_in_work() -> None:
    crew = ScriptedCrew(2)
    steps = Pool(crew).measure(work(4), vlms[0], range(4))
    while not isinstance(next(steps), Begun):
        pass
    steps.close()
    assert len(crew.asked) == 1
    assert [worker.stopped for worker in crew.started][crew.asked[0][0]]
