"""Who measures: its options, and what they mean on a machine. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from finst.errors import FinstError, choice

EXECUTORS = ("here", "processes", "ray", "ray:ADDRESS")

MOST_WORKERS = 1024

EVERYWHERE = "cuda:all"
"""The device of one model whose layers are spread over all GPUs."""


@dataclass(frozen=True)
class Execution:
    """Which executor, and how many workers."""

    executor: str | None = None
    """Who measures: here (this process), processes (one worker a GPU, or a core of the CPU) or ray[:ADDRESS] (a
    cluster). processes if None and there are several GPUs or --workers is given, else here. No result depends on it."""
    workers: int | None = None
    """How many workers measure at a time; one for each GPU, or for each core of the CPU, if None."""

    @property
    def name(self) -> str | None:
        """The executor without an address."""
        return None if self.executor is None else self.executor.partition(":")[0]

    @property
    def address(self) -> str | None:
        """What follows ``ray:``; None where nothing does."""
        return (self.executor or "").partition(":")[2] or None

    def check(self, device: str = "auto") -> None:
        """Raises FinstError for what no machine can run with a model on this ``device``. Needs no model."""
        plain = self.executor in (None, "here", "processes", "ray")
        if not plain and (self.name != "ray" or self.address is None):
            raise choice("executor", self.executor, EXECUTORS)
        if self.workers is not None and not 1 <= self.workers <= MOST_WORKERS:
            raise FinstError(f"workers is {self.workers:,}: expected 1 to {MOST_WORKERS:,}")
        several = (self.workers or 1) > 1
        if self.name == "here" and several:
            raise FinstError(
                f"workers is {self.workers} and executor is here, which is one process: expected processes or ray"
            )
        if device == EVERYWHERE and (self.name in ("processes", "ray") or several):
            raise FinstError(
                f"device {EVERYWHERE!r} is one model on all GPUs, which one process measures: expected executor here, "
                "or device auto for a model on every GPU"
            )
        if self.name == "ray" and find_spec("ray") is None:
            raise FinstError("executor ray needs ray, which is not installed: pip install 'finst[cluster]'")

    def chosen(self, device: str, gpus: int) -> str:
        """The executor's name for a model on this ``device``, on a machine with so many visible ``gpus``."""
        if self.name is not None:
            return self.name
        if device == EVERYWHERE:
            return "here"
        return "processes" if self.workers is not None or (device == "auto" and gpus > 1) else "here"


def devices_of(device: str, workers: int | None, gpus: int, cores: int) -> tuple[str, ...]:
    """The device of each worker for a model on this ``device``, on a machine with so many ``gpus`` and ``cores``.

    ``workers`` None is one for each GPU, or for each core where the model is on the CPU. Raises FinstError for more
    workers than GPUs, for several on one named GPU, and for a model that is spread over all GPUs.
    """
    Execution("processes", workers).check(device)
    if device == "cpu" or (device == "auto" and not gpus):
        return ("cpu",) * (workers or cores)
    there = (device,) if device.startswith("cuda:") else tuple(f"cuda:{index}" for index in range(gpus))
    if workers is not None and workers > len(there):
        have = f"device {device!r} is one GPU" if device.startswith("cuda:") else f"there are {gpus} visible GPUs"
        raise FinstError(f"workers is {workers}, and {have}: expected at most {max(1, len(there))}, or device cpu")
    return there[:workers]
