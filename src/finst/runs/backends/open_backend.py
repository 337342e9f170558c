"""The backend that options mean on this machine."""

from __future__ import annotations

import torch

from finst.runs.backends.backend import Backend
from finst.runs.backends.cluster import Cluster
from finst.runs.backends.execution import Execution, devices_of
from finst.runs.backends.here import Here
from finst.runs.backends.pool import Pool
from finst.runs.backends.processes import Processes, cores


def open_backend(execution: Execution, device: str = "auto") -> Backend:
    """The backend for models on this ``device``; close it, or use it as a context, to end its workers.

    Nothing is started before it measures. Raises FinstError as ``Execution.check`` and ``devices_of`` do.
    """
    execution.check(device)
    gpus = torch.cuda.device_count()
    match execution.chosen(device, gpus):
        case "processes":
            devices_of(device, execution.workers, gpus, cores())
            return Pool(Processes(execution.workers))
        case "ray":
            return Pool(Cluster(execution.address, execution.workers))
        case _:
            return Here()


def backend(executor: str = "here", workers: int | None = None) -> Backend:
    """What measures the runs that get it: ``with finst.backend("processes", 2) as two: finst.run("cma", backend=two)``.

    ``executor`` is ``here``, ``processes``, ``ray`` or ``ray:HOST:PORT``. ``workers`` None is one for each GPU or core.
    Workers keep the model open from one run to the next, until the block ends. Raises FinstError for an unknown
    executor, a number of workers that cannot be, and Ray where it is not installed.
    """
    return open_backend(Execution(executor, workers))
