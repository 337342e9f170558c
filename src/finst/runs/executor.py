"""Runs an experiment in this process: unit by unit into a run folder, then summary, figures and report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr
from rich.console import Console

from finst.engine.memory import gauge
from finst.errors import FinstError, NotFiniteError, out_of_memory
from finst.runs.experiment import Experiment, Unit
from finst.runs.finished import FinishedRun
from finst.runs.manifest import ModelRecord
from finst.runs.measured import check_measured
from finst.runs.progress import OnConsole, Watcher, print_line
from finst.runs.provenance import now, session
from finst.runs.size import check_size
from finst.runs.spec import differences, to_json
from finst.runs.store import RunFolder
from finst.vlm.open import VLM, Reader, open_reader, open_vlm
from finst.vlm.reader import notes
from finst.vlm.spec import ModelSpec

SpecT = TypeVar("SpecT", bound=ModelSpec)


def run(
    experiment: Experiment[SpecT],
    spec: SpecT,
    out: Path,
    *,
    console: Console | None = None,
    vlm: VLM | None = None,
    inputs: Any = None,
    watcher: Watcher | None = None,
) -> FinishedRun:
    """Measures the missing units of the run in the folder ``out``, then writes summary, figures and report there.

    ``vlm`` is the spec's model if it is already open. ``inputs`` is what this run needs from other runs if the caller
    has it (see ``Experiment.inputs``). ``watcher`` shows the progress, by default on the console. A run that was killed
    at any moment resumes and ends with the same bytes of data. Raises FinstError for bad input (before any weight
    loads, where that is possible), when the folder holds anything but this run, and when another process works on it. A
    KeyboardInterrupt states how many units are kept.
    """
    spec.check()
    folder = RunFolder.claim(out, experiment.name, to_json(spec))
    reader = vlm.reader if vlm else open_reader(spec.model, revision=spec.revision)
    console = console or Console(stderr=True)
    watcher = watcher or OnConsole(console)
    units = planned(experiment, spec, reader, out, console, inputs_given=inputs is not None, watcher=watcher)
    print_line(console, f"{experiment.name} of {reader.id}: {len(units)} units into {out}")
    for note in notes(reader):
        print_line(console, f"note: {note}")
    with watcher.waiting(f"reading the weights of {reader.id}"):
        vlm = vlm or open_vlm(reader, dtype=spec.dtype, device=spec.device)
        model = ModelRecord(vlm.reader.id, vlm.reader.revision, vlm.weights_hash, spec.dtype, vlm.place)
        folder.check_session(model, len(units))
    missing = [index for index in range(len(units)) if not folder.has_unit(index)]
    if missing and inputs is None:
        inputs = experiment.inputs(vlm, spec, out, console)
    with folder.held(), _report_what_is_kept(folder, len(units)):
        prepared = None
        if missing:
            with watcher.waiting(f"preparing {experiment.name}"):
                prepared = experiment.prepare(vlm, spec, inputs)
        _begin(folder, model, len(units), console)
        if missing:
            _measure(experiment, spec, vlm, prepared, folder, units, missing, watcher)
        elif units:
            print_line(console, f"{len(units)} of {len(units)} units were measured before")
        with watcher.waiting(f"statistics and report of {experiment.name}"):
            return _finish(experiment, spec, reader, folder, len(units))


def planned(
    experiment: Experiment[SpecT],
    spec: SpecT,
    reader: Reader,
    out: Path,
    console: Console,
    *,
    inputs_given: bool = False,
    watcher: Watcher | None = None,
) -> tuple[Unit, ...]:
    """The units of a run that can succeed, as far as can be known without weights. Writes nothing.

    Raises FinstError for what this machine cannot hold, for whatever the experiment refuses, and (unless
    ``inputs_given``) for other runs that it could not use.
    """
    spec.check()
    size = experiment.size(spec, reader)
    check_size(size, out)
    if size.notable:
        print_line(console, f"{experiment.name}: {size.text}")
    with (watcher or OnConsole(console)).waiting(f"planning {size.trials:,} {size.samples}"):
        experiment.check(spec, reader)
        if not inputs_given:
            experiment.check_inputs(spec, reader, out)
        return experiment.plan(spec)


def _begin(folder: RunFolder, model: ModelRecord, units: int, console: Console) -> None:
    """Opens the record. Prints a note when versions or machine have changed: numbers may then round differently."""
    *_, before, here = (None, *folder.begin(model, units, session()).sessions)
    if before is None:
        return
    changed = differences({**before.versions, **before.machine}, {**here.versions, **here.machine})
    if changed:
        listed = "; ".join(changed)
        print_line(console, f"note: unlike the session before, so numbers may round differently from here on: {listed}")


@contextmanager
def _report_what_is_kept(folder: RunFolder, units: int) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(_kept(folder, units)) from interrupt
    except (MemoryError, RuntimeError) as cause:
        if not out_of_memory(cause):
            raise
        raise FinstError(
            f"memory ran out ({' '.join(str(cause).split())[:200]}): expected a smaller batch, smaller units, another "
            f"dtype or device, or a machine with more memory; {_kept(folder, units)}"
        ) from cause


def _kept(folder: RunFolder, units: int) -> str:
    kept = sum(folder.has_unit(index) for index in range(units))
    return f"{kept} of {units} units are kept in {folder.path}, and the same command resumes from there"


def _measure(
    experiment: Experiment[SpecT],
    spec: SpecT,
    vlm: VLM,
    prepared: Any,
    folder: RunFolder,
    units: Sequence[Unit],
    missing: Sequence[int],
    watcher: Watcher,
) -> None:
    peak_memory = gauge(vlm.device)
    with watcher.measuring(len(units), len(units) - len(missing)) as bar:
        for index in missing:
            bar.begin(units[index].name)
            started = time.perf_counter()
            data = _measured(experiment, vlm, spec, units[index], prepared)
            folder.write_unit(index, data, time.perf_counter() - started, peak_memory())
            bar.advance()


def _measured(experiment: Experiment[SpecT], vlm: VLM, spec: SpecT, unit: Unit, prepared: Any) -> xr.Dataset:
    """The data of one unit. Raises NotFiniteError naming the unit where numbers are not finite."""
    try:
        data = experiment.measure(vlm, spec, unit, prepared)
    except NotFiniteError as error:
        raise NotFiniteError(f"{unit.name}: {error}") from error
    check_measured(data, unit.name)
    return data


def _finish(experiment: Experiment[SpecT], spec: SpecT, reader: Reader, folder: RunFolder, units: int) -> FinishedRun:
    parts = [folder.read_unit(index) for index in range(units)]
    for index, part in enumerate(parts):
        check_measured(part, f"unit {index} in {folder.path}")
    summary = experiment.summarise(spec, parts)
    folder.write_summary(summary)
    figures = experiment.report.figures(summary)
    for figure in figures:
        folder.write_figure(figure.name, figure.png, figure.pdf, figure.csv)
    done = folder.manifest.done(now())
    folder.write_report(experiment.page(spec, reader, summary, figures, to_json(done)))
    folder.finish(done)
    return FinishedRun(folder.path, done, summary)
