"""Runs an experiment: a backend measures its units, and this process writes them, then summary, figures and report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from finst.errors import FinstError, out_of_memory
from finst.runs.backends.backend import Backend, Begun, Dropped, Measured, Progress, UnitLostError, Work
from finst.runs.backends.here import Here
from finst.runs.experiment import Experiment, Unit
from finst.runs.finished import FinishedRun
from finst.runs.manifest import ModelRecord, Session
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
    backend: Backend | None = None,
) -> FinishedRun:
    """Measures the missing units of the run in the folder ``out``, then writes summary, figures and report there.

    ``vlm`` is the spec's model if it is already open. ``inputs`` is what this run needs from other runs if the caller
    has it (see ``Experiment.inputs``). ``watcher`` shows the progress, by default on the console. ``backend`` measures
    the units, by default in this process; the caller closes it. A run that was killed at any moment resumes, with any
    backend, and ends with the same bytes of data. Raises FinstError for bad input (before any weight loads, where that
    is possible), when the folder holds anything but this run, and when another process works on it. A KeyboardInterrupt
    states how many units are kept.
    """
    spec.check()
    folder = RunFolder.claim(out, experiment.name, to_json(spec))
    reader = vlm.reader if vlm else open_reader(spec.model, revision=spec.revision)
    console = console or Console(stderr=True)
    watcher, backend = watcher or OnConsole(console), backend or Here()
    units = planned(experiment, spec, reader, out, console, inputs_given=inputs is not None, watcher=watcher)
    print_line(console, f"{experiment.name} of {reader.id}: {len(units)} units into {out}")
    for note in notes(reader):
        print_line(console, f"note: {note}")
    with watcher.waiting(f"reading the weights of {reader.id}"):
        vlm = vlm or open_vlm(reader, dtype=spec.dtype, device=spec.device)
        model = ModelRecord(vlm.reader.id, vlm.reader.revision, vlm.weights_hash, spec.dtype, vlm.place)
        folder.check_session(model, len(units))
        missing = [index for index in range(len(units)) if not folder.has_unit(index)]
        workers = backend.devices(spec, vlm) if missing else ()
    if missing and inputs is None:
        inputs = experiment.inputs(vlm, spec, out, console, backend)
    with folder.held(), _report_what_is_kept(folder, len(units)):
        prepared = None
        if missing:
            with watcher.waiting(f"preparing {experiment.name}"):
                prepared = experiment.prepare(vlm, spec, inputs)
        _begin(folder, model, len(units), replace(session(), executor=backend.name, workers=workers), console)
        if missing:
            work = Work(experiment, spec, units, prepared)
            with closing(backend.measure(work, vlm, missing)) as progress:
                _write(folder, units, len(missing), progress, watcher, console)
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


def _begin(folder: RunFolder, model: ModelRecord, units: int, now: Session, console: Console) -> None:
    """Opens the record. Prints a note when versions, machine or executor changed: numbers may round differently."""
    *_, before, here = (None, *folder.begin(model, units, now).sessions)
    if before is None:
        return
    changed = differences(_that_rounds(before), _that_rounds(here))
    if changed:
        listed = "; ".join(changed)
        print_line(console, f"note: unlike the session before, so numbers may round differently from here on: {listed}")


def _that_rounds(session: Session) -> dict[str, str]:
    """What rounding may depend on."""
    return {**session.versions, **session.machine, "executor": session.executor}


@contextmanager
def _report_what_is_kept(folder: RunFolder, units: int) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(_kept(folder, units)) from interrupt
    except UnitLostError as cause:
        raise UnitLostError(f"{cause}; {_kept(folder, units)}") from cause
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


def _write(
    folder: RunFolder,
    units: Sequence[Unit],
    missing: int,
    progress: Iterator[Progress],
    watcher: Watcher,
    console: Console,
) -> None:
    """Stores the units as they come, in any order."""
    with watcher.measuring(len(units), len(units) - missing) as bar:
        for step in progress:
            name = units[step.index].name
            match step:
                case Begun():
                    bar.begin(name)
                case Dropped(_, how):
                    print_line(console, f"note: a worker ended ({how}) while it measured {name}: another one does it")
                case Measured():
                    folder.write_unit(step.index, step.data, step.seconds, step.peak_memory)
                    bar.advance(name)


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
