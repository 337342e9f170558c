"""Workers that are actors of a Ray cluster, on any of its machines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, cast

from finst.errors import FinstError
from finst.runs.backends.measurer import Measurer
from finst.runs.backends.messages import Answer, Job, Lost, Ready, answered
from finst.runs.backends.pool import Worker
from finst.vlm.open import VLM
from finst.vlm.spec import ModelSpec


class Actor:
    """A measurer whose exceptions are answers."""

    def __init__(self) -> None:
        self._measurer = Measurer()

    def ready(self) -> Answer:
        """That it is there."""
        return Ready(0)

    def begin(self, job: Job) -> Answer:
        """See ``Measurer``."""
        return answered(partial(self._measurer.begin, job))

    def measure(self, index: int) -> Answer:
        """See ``Measurer``."""
        return answered(partial(self._measurer.measure, index))


@dataclass(eq=False)
class ActorWorker:
    """An actor, and the answer that it owes."""

    ray: Any
    actor: Any
    owed: Any = field(init=False)

    def __post_init__(self) -> None:
        self.owed = self.actor.ready.remote()

    def begin(self, job: Job) -> None:
        """See ``Worker``."""
        self.owed = self.actor.begin.remote(job)

    def measure(self, index: int) -> None:
        """See ``Worker``."""
        self.owed = self.actor.measure.remote(index)

    def stop(self) -> None:
        """See ``Worker``."""
        self.ray.kill(self.actor)


class Cluster:
    """See ``Crew``. Connects to the cluster when it is first needed.

    ``address`` is what ``ray.init`` takes. Without one it is that of the environment variable RAY_ADDRESS or of a
    cluster that was started on this machine; if there is none, one is started for this process.
    """

    name = "ray"

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._address, self._workers = address, workers
        self._ray: Any = import_module("ray")
        self._connected = False
        self._free: dict[str, int] = {}

    def _connect(self) -> None:
        """Raises FinstError where no cluster answers."""
        if self._connected or self._ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            self._ray.init(self._address, include_dashboard=False, log_to_driver=False, logging_level="error")
        except Exception as error:  # Ray raises many kinds
            raise FinstError(
                f"no Ray cluster answers at {self._address or 'the address of this machine'} "
                f"({' '.join(str(error).split())[:200]}): expected the HOST:PORT that ray start --head printed"
            ) from error
        self._connected = True

    def devices(self, spec: ModelSpec, vlm: VLM) -> tuple[str, ...]:
        """One for each free GPU of the cluster, or free core where the model here is on the CPU; or as chosen.

        Raises FinstError where the cluster has fewer.
        """
        kind = vlm.device.type
        self._connect()
        if kind not in self._free:  # later, the workers themselves are what is not free
            self._free[kind] = int(self._ray.available_resources().get("GPU" if kind == "cuda" else "CPU", 0))
        there = self._free[kind]
        workers = self._workers or there
        if not 1 <= workers <= there:
            what = "GPUs" if kind == "cuda" else "CPUs"
            raise FinstError(
                f"workers is {workers}, and the Ray cluster has {there} free {what}: expected 1 to {there}"
            )
        return (kind,) * workers

    def start(self, device: str) -> ActorWorker:
        """An actor with a GPU or a core of its own; Ray sets CUDA_VISIBLE_DEVICES and OMP_NUM_THREADS for it."""
        needs = {"num_gpus": 1, "num_cpus": 1} if device == "cuda" else {"num_cpus": 1}
        return ActorWorker(self._ray, self._ray.remote(Actor).options(max_restarts=0, **needs).remote())

    def first(self, workers: Sequence[Worker]) -> tuple[Worker, Answer]:
        """See ``Crew``."""
        by_answer = {cast(ActorWorker, worker).owed: worker for worker in workers}
        (owed, *_), _ = self._ray.wait([*by_answer], num_returns=1)
        try:
            return by_answer[owed], cast(Answer, self._ray.get(owed))
        except self._ray.exceptions.RayError as error:
            return by_answer[owed], Lost(f"its Ray actor: {type(error).__name__}")

    def close(self) -> None:
        """Leaves the cluster; one that was started for this process ends."""
        if self._connected:
            self._ray.shutdown()
            self._connected = False
            self._free.clear()
