"""Workers that are processes of this machine, one for each GPU, or several on the CPU."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, cast

import torch

from finst.runs.backends.execution import devices_of
from finst.runs.backends.messages import Answer, Job, Lost
from finst.runs.backends.pool import Worker
from finst.runs.backends.process_worker import serve
from finst.runs.backends.room import devices_with_room
from finst.vlm.open import VLM
from finst.vlm.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class ProcessWorker:
    """A process, and the pipe to it; what cannot be sent is noticed as an end of the pipe when it is read."""

    process: SpawnProcess
    connection: Connection

    def begin(self, job: Job) -> None:
        """See ``Worker``."""
        with suppress(OSError):
            self.connection.send(job)

    def measure(self, index: int) -> None:
        """See ``Worker``."""
        with suppress(OSError):
            self.connection.send(index)

    def answer(self) -> Answer:
        """Waits for the next answer."""
        try:
            return cast(Answer, self.connection.recv())
        except (EOFError, OSError):  # the pipe ends between messages, or in one
            self.process.join()
            return Lost(ended(self.process.exitcode))

    def stop(self) -> None:
        """See ``Worker``."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class Processes:
    """See ``Crew``."""

    name = "processes"

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers
        self._devices: dict[tuple[str, ...], tuple[str, ...]] = {}

    def devices(self, spec: ModelSpec, vlm: VLM) -> tuple[str, ...]:
        """One for each GPU or core, or as many as were chosen.

        A GPU where this process's model leaves too little memory for a second copy of the weights is left out. Raises
        FinstError as ``devices_of`` and ``devices_with_room`` do.
        """
        key = (spec.model, spec.dtype, spec.device)
        if key not in self._devices:  # later, the workers' own copies take memory
            devices = devices_of(spec.device, self._workers, gpus := torch.cuda.device_count(), cores())
            if vlm.device.type == "cuda":
                devices = devices_with_room(devices_of(spec.device, None, gpus, 1), vlm, self._workers)
            self._devices[key] = devices
        return self._devices[key]

    def start(self, device: str) -> ProcessWorker:
        """A process for this device, which ends when this one does, and which Ctrl-C does not reach."""
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=serve, args=(theirs, surroundings(device)), daemon=True)
        with _interrupts_wait():
            process.start()
        theirs.close()  # so that the pipe ends when the worker does
        return ProcessWorker(process, cast(Connection, ours))

    def first(self, workers: Sequence[Worker]) -> tuple[Worker, Answer]:
        """See ``Crew``."""
        by_pipe = {cast(ProcessWorker, worker).connection: cast(ProcessWorker, worker) for worker in workers}
        (pipe, *_) = cast(list[Any], wait([*by_pipe]))
        worker = by_pipe[pipe]
        return worker, worker.answer()

    def close(self) -> None:
        """Nothing is left."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def surroundings(device: str) -> Mapping[str, str]:
    """The environment variables by which a worker sees this device alone, or computes in one thread on the CPU."""
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return {"OMP_NUM_THREADS": "1"}
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return {"CUDA_VISIBLE_DEVICES": visible[int(index)] if visible else index}


def ended(status: int | None) -> str:
    """How a process ended, by its exit status as multiprocessing gives it."""
    if status is not None and status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Inside, Ctrl-C waits for the end of the block; processes that start there never get it."""
    resource_tracker.ensure_running()  # its own start would let interrupts through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
