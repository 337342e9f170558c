"""Toys whose units end their worker, raise, or take a while.

``python -m tests.runs.backends.toys MODEL OUT EXECUTOR`` runs the slow one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from finst.errors import FinstError, NotFiniteError
from finst.runs.backends.open_backend import backend
from finst.runs.executor import run
from finst.runs.experiment import Unit
from finst.vlm.open import VLM
from tests.runs.toy import Toy, ToySpec


@dataclass(frozen=True)
class DeadlySpec(ToySpec):
    units: int = 6
    deadly: int = 1
    """The unit that ends its worker."""
    times: int = 1
    """How often it does."""
    marks: str = ""
    """An existing folder, which gets a file for each worker that was ended."""


class Deadly(Toy):
    spec = DeadlySpec

    def measure(self, vlm: VLM, spec: Any, unit: Unit, prepared: Any) -> xr.Dataset:
        marks = Path(spec.marks)
        if unit.trials == (spec.deadly,) and len([*marks.iterdir()]) < spec.times:
            (marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().measure(vlm, spec, unit, prepared)


class Stillborn(Toy):
    """Cannot be read by a worker: doing so ends it."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


class OwnError(ValueError):
    """An exception that cannot be made again from its arguments."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")


class Failing(Toy):
    """A unit that fails in the way that the seed chooses."""

    def measure(self, vlm: VLM, spec: ToySpec, unit: Unit, prepared: Any) -> xr.Dataset:
        data = super().measure(vlm, spec, unit, prepared)
        if unit.trials != (1,):
            return data
        match spec.seed:
            case 0:
                raise FinstError("the model is unsuitable")
            case 1:
                raise NotFiniteError("layer 1 gives NaN")
            case 2:
                return data.assign(score=data["score"] * np.nan)
            case 3:
                raise OwnError(7)
            case 4:
                raise MemoryError("no room")
            case _:
                raise ZeroDivisionError("by zero")


class Slow(Toy):
    """Units that take a while, and leave the process id of their worker in the folder TOY_PIDS."""

    def prepare(self, vlm: VLM, spec: Any, inputs: Any) -> Path:
        return Path(os.environ["TOY_PIDS"])

    def measure(self, vlm: VLM, spec: ToySpec, unit: Unit, prepared: Path) -> xr.Dataset:
        (prepared / str(os.getpid())).touch()
        time.sleep(float(os.environ.get("TOY_SECONDS", "0.2")))
        return super().measure(vlm, spec, unit, prepared)


if __name__ == "__main__":
    model, out, executor = sys.argv[1:]
    torch.set_num_threads(1)
    with backend(executor, None if executor == "here" else 2) as chosen:
        try:
            run(Slow(), ToySpec(model, units=8), Path(out), backend=chosen)
        except KeyboardInterrupt as interrupt:
            sys.exit(str(interrupt))
