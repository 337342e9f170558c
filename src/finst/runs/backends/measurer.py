"""What a worker does, whatever started it: it opens the model once, and measures units of one job after another."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable

import torch

from finst.engine.memory import gauge
from finst.errors import FinstError, writing
from finst.runs.backends.backend import Measured, Work
from finst.runs.backends.messages import Job, Opening, Ready
from finst.vlm.open import VLM, open_vlm


class Measurer:
    """One worker's model and job."""

    def __init__(self) -> None:
        self._opening: Opening | None = None
        self._vlm: VLM | None = None
        self._work: Work | None = None
        self._peak_memory: Callable[[], int | None] = lambda: None

    def begin(self, job: Job) -> Ready:
        """Opens the job's model unless it is open.

        Raises FinstError for other weights than those of the job, and without the folder where the run was started.
        """
        with writing(job.folder, "work in the folder"):
            os.chdir(job.folder)
        if job.opening != self._opening:
            self._opening = self._vlm = None
            self._vlm = opened(job.opening)
            self._opening = job.opening
        assert self._vlm is not None
        self._work = unpickled(job.work)
        self._peak_memory = gauge(self._vlm.device)
        return Ready(job.number)

    def measure(self, index: int) -> Measured:
        """A unit of the last job; raises what ``Work.measure`` raises."""
        assert self._vlm is not None
        assert self._work is not None
        return self._work.measure(self._vlm, index, self._peak_memory)


def opened(opening: Opening) -> VLM:
    """The model; on the CPU with one thread of torch, so that sums round the same whatever else the machine does.

    Raises FinstError when the model cannot be opened, or has other weights.
    """
    if opening.device == "cpu":
        torch.set_num_threads(1)
    vlm = open_vlm(opening.model, revision=opening.revision, dtype=opening.dtype, device=opening.device)
    if vlm.weights_hash != opening.weights_hash:
        raise FinstError(
            f"a worker found other weights of {opening.model} ({vlm.weights_hash[:12]}) than the process that started "
            f"it ({opening.weights_hash[:12]}): expected the same files wherever a worker runs"
        )
    return vlm


def unpickled(work: bytes) -> Work:
    """The work of a job. Raises FinstError for an experiment that this process cannot import."""
    try:
        return pickle.loads(work)
    except Exception as error:  # whatever importing raises
        raise FinstError(
            f"a worker cannot read the experiment ({type(error).__name__}: {error}): expected one that is defined in a "
            "module which can be imported there, not in a notebook or a script"
        ) from error


def pickled(work: Work) -> bytes:
    """The work for another process. Raises FinstError for an experiment, settings or estimates that cannot be sent."""
    try:
        return pickle.dumps(work, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # pickle raises many kinds
        raise FinstError(
            f"{work.experiment.name} cannot be sent to a worker ({type(error).__name__}: {error}): expected an "
            "experiment of a module, whose settings and estimates can be pickled; or executor here"
        ) from error
