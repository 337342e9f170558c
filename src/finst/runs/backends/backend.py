"""What measures the units of a run. A backend only measures: ``finst.runs.executor`` alone writes what it yields."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import xarray as xr

from finst.errors import FinstError, NotFiniteError
from finst.runs.experiment import Experiment, Unit
from finst.runs.measured import check_measured
from finst.vlm.open import VLM
from finst.vlm.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class Work:
    """The units of one run, and what they share. All of it can be pickled for another process."""

    experiment: Experiment[Any]
    spec: Any
    units: tuple[Unit, ...]
    prepared: Any
    """The result of ``Experiment.prepare``."""

    def measure(self, vlm: VLM, index: int, peak_memory: Callable[[], int | None]) -> Measured:
        """The unit of this index, with the time that it took; ``peak_memory`` is ``finst.engine.memory.gauge``.

        Raises NotFiniteError naming the unit where numbers are not finite, and whatever the experiment raises.
        """
        unit, started = self.units[index], time.perf_counter()
        try:
            data = self.experiment.measure(vlm, self.spec, unit, self.prepared)
        except NotFiniteError as error:
            raise NotFiniteError(f"{unit.name}: {error}") from error
        check_measured(data, unit.name)
        return Measured(index, data, time.perf_counter() - started, peak_memory())


@dataclass(frozen=True)
class Begun:
    """A worker has begun a unit, perhaps again after another worker was lost."""

    index: int


@dataclass(frozen=True)
class Dropped:
    """A worker ended while it measured a unit, which another one will measure."""

    index: int
    how: str
    """Such as ``killed by SIGKILL``."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The data of one unit."""

    index: int
    data: xr.Dataset
    seconds: float
    peak_memory: int | None
    """Peak of the unit's worker so far, in bytes above the weights; None on the CPU."""


Progress: TypeAlias = Begun | Dropped | Measured


class UnitLostError(FinstError):
    """Workers ended while they measured a unit, and would again. The message names the unit."""


@runtime_checkable
class Backend(Protocol):
    """Measures units, in any order, as often as it is called; ``close`` ends whatever it started."""

    @property
    def name(self) -> str:
        """As it is called on the command line and in the run's record."""
        ...

    def devices(self, spec: ModelSpec, vlm: VLM) -> tuple[str, ...]:
        """The device of each worker for a run with this spec; ``vlm`` is the model of this process.

        Raises FinstError where there cannot be such workers. Starts none.
        """
        ...

    def measure(self, work: Work, vlm: VLM, indices: Sequence[int]) -> Generator[Progress, None, None]:
        """Begins and measures each of these units.

        The data of a unit do not depend on the backend. Raises what ``Work.measure`` raises, and UnitLostError; then,
        or when the iterator is closed, no unit is in work any more.
        """
        ...

    def close(self) -> None:
        """Ends all workers."""
        ...

    def __enter__(self) -> Backend:
        """Itself."""
        ...

    def __exit__(self, *_: object) -> None:
        """As ``close``."""
        ...
