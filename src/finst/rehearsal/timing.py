"""Times the parts of one experiment at small sizes, warm, and extrapolates each by its own growth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr

from finst.experiments.units import joined
from finst.rehearsal import growth
from finst.rehearsal.estimate import Sample
from finst.rehearsal.growth import Span, UnitTimes
from finst.rehearsal.memory import forget_peaks, gpu_peak, host_peak
from finst.rehearsal.repeated import repeated
from finst.rehearsal.sizes import SMALLEST, count, estimated_from, in_units_of, resized, units_of
from finst.runs.archive import pack, write_atomically
from finst.runs.experiment import Experiment, Unit
from finst.runs.finished import manifest_of
from finst.runs.spec import to_json
from finst.runs.store import RunFolder
from finst.vlm.open import VLM

ResultT = TypeVar("ResultT")

LONG_ENOUGH_S = 3.0
"""Statistics that take so long are not timed at a still larger size, and units that do are not measured again."""


@dataclass(frozen=True, eq=False)
class Rehearsed:
    """One experiment that was run at a small size."""

    experiment: Experiment[Any]
    whole: Any
    """The plan's settings."""
    small: Any
    """Those of the run."""
    folder: Path
    """The run."""
    took: float
    """Seconds of the run."""
    inputs: Any
    """As in ``Experiment.prepare``."""

    @property
    def name(self) -> str:
        """The experiment's."""
        return self.experiment.name


@dataclass(frozen=True)
class Timed:
    """Times in seconds and sizes in bytes of a step at the plan's size, from measurements at small sizes."""

    total: Span
    fixed: float
    prepare: Span
    measure: Span
    statistics: Span
    report: Span
    host_bytes: int
    gpu_bytes: int | None
    disk_bytes: int
    sample: Sample


def timed(work: Callable[[], ResultT]) -> tuple[ResultT, float]:
    """What ``work`` returns, and its seconds. Results of experiments are on the CPU, so nothing is left to wait for."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def times_of(run: Rehearsed, vlm: VLM, planning: float) -> Timed:
    """Times and sizes of a step; ``planning`` is the measured time of its check and plan at the plan's size.

    What the run took beyond its parts, such as the first use of a kernel, counts once.
    """
    forget_peaks()
    prepared, pictures, preparing = _preparations(run, vlm)
    data, times = _units(run, vlm, prepared)
    gpu, before = gpu_peak(vlm.device), host_peak()
    sizes, finishing, reporting = _statistics(run, vlm, data)
    planned = [len(unit.trials) for unit in units_of(run.name, run.whole)]
    trials, report = sum(planned), Span(reporting, reporting, reporting)
    prepare, once = growth.of_preparation(pictures, preparing, estimated_from(run.name, run.whole))
    measure = growth.of_units(times, planned)
    statistics, always = growth.of_statistics(sizes, finishing, trials)
    parts = preparing[0] + sum(seconds for _, seconds in times.small) + finishing[0] + reporting
    first = max(0.0, run.took - parts) + planning
    more = 2 * data.nbytes * max(0, trials - sizes[-1]) // sizes[0]
    return Timed(
        Span(first, first, first) + prepare + measure + statistics + report,
        first + once + always + reporting,
        prepare,
        measure,
        statistics,
        report,
        max(before, host_peak()) + more,
        gpu,
        _disk(run, trials / sizes[0]),
        Sample(sizes[0], len(times.small), max(pictures), sizes[-1]),
    )


def _dim(run: Rehearsed) -> str:
    return "pair" if run.name == "cma" else "trial"


def _preparations(run: Rehearsed, vlm: VLM) -> tuple[Any, list[int], list[float]]:
    """What ``prepare`` gives at the small size; numbers of pictures, and its time at each."""
    prepared, seconds = timed(lambda: run.experiment.prepare(vlm, run.small, run.inputs))
    pictures, times = [estimated_from(run.name, run.small)], [seconds]
    field = "pictures" if run.name == "coco" else "estimation"
    if pictures[0] and getattr(run.whole, field) != getattr(run.small, field):
        double = resized(run.name, run.whole, 2, only=(field,))
        larger = replace(run.small, **{field: getattr(double, field)})
        pictures.append(estimated_from(run.name, larger))
        times.append(timed(lambda: run.experiment.prepare(vlm, larger, run.inputs))[1])
    return prepared, pictures, times


def _units(run: Rehearsed, vlm: VLM, prepared: Any) -> tuple[xr.Dataset, UnitTimes]:
    """All trials of the run, and the times of its units, with storing and reading.

    The first ones are measured again, warm, and a larger one, unless units take so long that what comes with each unit
    is a small part of it.
    """
    units, manifest = units_of(run.name, run.small), manifest_of(run.folder)
    folder = RunFolder(run.folder, run.name, manifest.spec)
    read = [timed(lambda index=index: _stored_again(folder, index)) for index in range(len(units))]
    data, storing = joined([part for part, _ in read], _dim(run)), [seconds for _, seconds in read]
    measuring = [manifest.unit_seconds[f"{index:05d}"] for index in range(len(units))]

    def small() -> list[tuple[int, float]]:
        return [(len(unit.trials), sum(both)) for unit, *both in zip(units, measuring, storing, strict=True)]

    if min(measuring) > LONG_ENOUGH_S:
        return data, UnitTimes(small(), None)
    spec, larger, like = _larger_unit(run, units)
    for index in range(max(1, like)):
        measuring[index] = timed(lambda unit=units[index]: run.experiment.measure(vlm, run.small, unit, prepared))[1]
    if like == 0:
        return data, UnitTimes(small(), None)
    seconds = timed(lambda: run.experiment.measure(vlm, spec, larger, prepared))[1]
    return data, UnitTimes(small(), (len(larger.trials), seconds + sum(storing[:like])), like)


def _larger_unit(run: Rehearsed, units: Sequence[Unit]) -> tuple[Any, Unit, int]:
    """A larger unit with its settings, and how many of the first units have trials like its own; 0 for none.

    It has the trials of the first two units. Where a unit is a condition (``accuracy``), the first one with twice the
    trials.
    """
    if run.name == "accuracy":
        spec = resized(run.name, run.whole, 2)
        larger = units_of(run.name, spec)[0]
        return spec, larger, int(len(larger.trials) > len(units[0].trials))
    if len(units) < 2:
        return run.small, units[0], 0
    return run.small, Unit("two units", units[0].trials + units[1].trials), 2


def _stored_again(folder: RunFolder, index: int) -> xr.Dataset:
    """A unit that is read, packed and written again: what a run does with it beside measuring it."""
    data = folder.read_unit(index)
    write_atomically(folder.path.with_name("unit.zarr.zip"), pack(data))
    return data


def _statistics(run: Rehearsed, vlm: VLM, data: xr.Dataset) -> tuple[list[int], list[float], float]:
    """Numbers of trials (the run's, doubled until that takes long or is the plan's, but once in any case), seconds of
    statistics of each, and of the report on the last."""
    counted = tuple(field for field in SMALLEST[run.name] if field != "estimation")
    sizes: list[int] = []
    times: list[float] = []
    planned, times_larger, spec, summary = count(run.name, run.whole), 1, run.small, xr.Dataset()
    while not sizes or (sizes[-1] < planned and (len(sizes) == 1 or times[-1] < LONG_ENOUGH_S)):
        larger = resized(run.name, run.whole, times_larger, only=counted)
        spec = replace(in_units_of(run.small, run.whole), **{name: getattr(larger, name) for name in counted})
        parts = repeated(data, units_of(run.name, spec), _dim(run))
        sizes.append(count(run.name, spec))
        summary, seconds = timed(lambda spec=spec, parts=parts: run.experiment.summarise(spec, parts))
        times.append(seconds)
        times_larger *= 2
    return sizes, times, timed(lambda: _report(run, vlm, spec, summary))[1]


def _report(run: Rehearsed, vlm: VLM, spec: Any, summary: xr.Dataset) -> None:
    """Figures and page."""
    figures = run.experiment.report.figures(summary)
    run.experiment.page(spec, vlm.reader, summary, figures, to_json(manifest_of(run.folder)))


def _disk(run: Rehearsed, times: float) -> int:
    """Bytes of the run's folder with so many times the units."""
    units = run.folder / "units"
    sizes = {path: path.stat().st_size for path in run.folder.rglob("*") if path.is_file()}
    growing = sum(length for path, length in sizes.items() if path.is_relative_to(units))
    return int(growing * times) + sum(sizes.values()) - growing
