"""Units for several workers: each takes the next one when it is free, and what a lost worker did is done by another."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from finst.errors import FinstError
from finst.runs.backends.backend import Begun, Dropped, Measured, Progress, UnitLostError, Work
from finst.runs.backends.measurer import pickled
from finst.runs.backends.messages import Answer, Failed, Job, Lost, Opening, Ready, WorkerTraceback
from finst.vlm.open import VLM
from finst.vlm.spec import ModelSpec

ATTEMPTS = 2
"""Workers that may be lost by one unit, or one after another before they are ready."""


@runtime_checkable
class Worker(Protocol):
    """A process somewhere, which answers what it is asked: first that it is ready for job 0, without a question."""

    def begin(self, job: Job) -> None:
        """Asks it to open the job's model. Does not wait."""
        ...

    def measure(self, index: int) -> None:
        """Asks for a unit of the last job. Does not wait."""
        ...

    def stop(self) -> None:
        """Ends it at once, whatever it does."""
        ...


@runtime_checkable
class Crew(Protocol):
    """Starts workers of one kind."""

    @property
    def name(self) -> str:
        """As in ``Backend``."""
        ...

    def devices(self, spec: ModelSpec, vlm: VLM) -> tuple[str, ...]:
        """As in ``Backend``."""
        ...

    def start(self, device: str) -> Worker:
        """A worker that sees this device and no other of its kind. Does not wait for it."""
        ...

    def first(self, workers: Sequence[Worker]) -> tuple[Worker, Answer]:
        """Waits for an answer of any of these workers, all of which have been asked something."""
        ...

    def close(self) -> None:
        """Lets go of what the workers ran on, once all have ended."""
        ...


@dataclass(eq=False)
class Seat:
    """The place of one worker."""

    device: str
    worker: Worker | None = None
    asked: bool = False
    """Whether its worker still has to answer."""
    begun: int = 0
    """The last job that its worker was asked to begin."""
    ready: int = 0
    """The last job for which its worker was ready."""
    unit: int | None = None
    """The unit in work."""

    def leave(self) -> None:
        """Ends the worker, if there is one."""
        if self.worker is not None:
            self.worker.stop()
        self.worker, self.asked, self.begun, self.ready, self.unit = None, False, 0, 0, None


class Pool:
    """A ``Backend`` whose workers outlive a run: the next run finds them with the model open."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._seats: tuple[Seat, ...] = ()
        self._jobs = 0

    @property
    def name(self) -> str:
        """That of its crew."""
        return self._crew.name

    def devices(self, spec: ModelSpec, vlm: VLM) -> tuple[str, ...]:
        """See ``Backend``."""
        return self._crew.devices(spec, vlm)

    def measure(self, work: Work, vlm: VLM, indices: Sequence[int]) -> Generator[Progress, None, None]:
        """See ``Backend``. Starts no more workers than there are units."""
        self._sit(self.devices(work.spec, vlm))
        self._jobs += 1
        opening = Opening(vlm.reader.id, vlm.reader.revision, work.spec.dtype, vlm.device.type, vlm.weights_hash)
        job, waiting = Job(self._jobs, opening, Path.cwd(), pickled(work)), deque(indices)
        lost: Counter[int] = Counter()
        unready = 0
        try:
            while waiting or any(seat.unit is not None for seat in self._seats):
                yield from map(Begun, self._give(waiting))
                self._prepare(job, len(waiting))
                seat, answer = self._first()
                index, seat.unit = seat.unit, None
                match answer:
                    case Ready(number):
                        seat.ready = number
                        unready = 0 if number == self._jobs else unready
                    case Measured():
                        yield answer
                    case Failed() if seat.begun != self._jobs:
                        pass  # to begin an earlier job, which has ended
                    case Failed(error, trace):
                        raise error from WorkerTraceback(trace)
                    case Lost(how):
                        seat.leave()
                        if index is None:
                            unready += 1
                            _check_starts(unready, how)
                        else:
                            lost[index] += 1
                            _check_unit(work.units[index].name, lost[index], how)
                            waiting.appendleft(index)
                            yield Dropped(index, how)
        finally:
            for seat in self._seats:
                if seat.unit is not None:
                    seat.leave()

    def _sit(self, devices: tuple[str, ...]) -> None:
        """Makes one seat a device; workers of other devices end."""
        if devices != tuple(seat.device for seat in self._seats):
            self._leave()
            self._seats = tuple(map(Seat, devices))

    def _give(self, waiting: deque[int]) -> Iterator[int]:
        """Asks workers that are ready for the job for the next units, and gives these."""
        for seat in self._seats:
            if waiting and seat.worker is not None and not seat.asked and seat.ready == self._jobs:
                seat.unit = waiting.popleft()
                seat.asked = True
                seat.worker.measure(seat.unit)
                yield seat.unit

    def _prepare(self, job: Job, waiting: int) -> None:
        """Starts workers, and has others begin the job, as long as there are units ``waiting`` for them."""
        busy = sum(seat.asked and seat.unit is None for seat in self._seats)
        for seat in [seat for seat in self._seats if not seat.asked][: max(0, waiting - busy)]:
            seat.asked = True
            if seat.worker is None:
                seat.worker = self._crew.start(seat.device)  # which says by itself that it is there
            else:
                seat.begun = job.number
                seat.worker.begin(job)

    def _first(self) -> tuple[Seat, Answer]:
        """The first answer of a worker that was asked."""
        asked = {id(seat.worker): seat for seat in self._seats if seat.asked and seat.worker is not None}
        worker, answer = self._crew.first([seat.worker for seat in asked.values() if seat.worker is not None])
        seat = asked[id(worker)]
        seat.asked = False
        return seat, answer

    def _leave(self) -> None:
        for seat in self._seats:
            seat.leave()

    def close(self) -> None:
        """Ends all workers; a later run would start others."""
        self._leave()
        self._crew.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_starts(times: int, how: str) -> None:
    """Raises FinstError when workers end one after another before they are ready."""
    if times >= ATTEMPTS:
        raise FinstError(
            f"{times} workers in turn ended before they had opened the model ({how}): expected memory for the model "
            "once a worker and, in a script, work that begins under if __name__ == '__main__'"
        )


def _check_unit(unit: str, times: int, how: str) -> None:
    """Raises UnitLostError for a unit that too many workers did not survive."""
    if times >= ATTEMPTS:
        raise UnitLostError(
            f"{unit}: {times} workers in turn ended while they measured it ({how}): expected a unit that fits into a "
            "worker's memory: fewer workers, a smaller batch, or smaller units"
        )
