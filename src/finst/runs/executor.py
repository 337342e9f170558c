"""Runs an experiment in this process: unit by unit into a run folder, then summary, figures and report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from finst.engine.memory import gauge
from finst.runs.experiment import Experiment, Unit
from finst.runs.finished import FinishedRun
from finst.runs.manifest import ModelRecord
from finst.runs.progress import print_line, progress
from finst.runs.provenance import now, session
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
) -> FinishedRun:
    """Measures the missing units of the run in the folder ``out``, then writes summary, figures and report there.

    ``vlm`` is the spec's model if it is already open. ``inputs`` is what this run needs from other runs if the caller
    has it (see ``Experiment.inputs``). A run that was killed at any moment resumes and ends with the same bytes of
    data. Raises FinstError for bad input (before any weight loads, where that is possible), when the folder holds
    anything but this run, and when another process works on it. A KeyboardInterrupt states how many units are kept.
    """
    folder = RunFolder.claim(out, experiment.name, to_json(spec))
    reader = vlm.reader if vlm else open_reader(spec.model, revision=spec.revision)
    experiment.check(spec, reader)
    units = experiment.plan(spec)
    console = console or Console(stderr=True)
    print_line(console, f"{experiment.name} of {reader.id}: {len(units)} units into {out}")
    for note in notes(reader):
        print_line(console, f"note: {note}")
    vlm = vlm or open_vlm(reader, dtype=spec.dtype, device=spec.device)
    missing = [index for index in range(len(units)) if not folder.has_unit(index)]
    if missing and inputs is None:
        inputs = experiment.inputs(vlm, spec, out, console)
    with folder.held(), _report_what_is_kept(folder, len(units)):
        _begin(folder, vlm, spec, len(units), console)
        if missing:
            prepared = experiment.prepare(vlm, spec, inputs)
            _measure(experiment, spec, vlm, prepared, folder, units, missing, console)
        elif units:
            print_line(console, f"{len(units)} of {len(units)} units were measured before")
        return _finish(experiment, spec, reader, folder, len(units))


def _begin(folder: RunFolder, vlm: VLM, spec: ModelSpec, units: int, console: Console) -> None:
    """Opens the record. Prints a note when versions or machine have changed: numbers may then round differently."""
    model = ModelRecord(vlm.reader.id, vlm.reader.revision, vlm.weights_hash, spec.dtype, vlm.place)
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
        kept = sum(folder.has_unit(index) for index in range(units))
        raise KeyboardInterrupt(
            f"{kept} of {units} units are kept in {folder.path}, and the same command resumes from there"
        ) from interrupt


def _measure(
    experiment: Experiment[SpecT],
    spec: SpecT,
    vlm: VLM,
    prepared: Any,
    folder: RunFolder,
    units: Sequence[Unit],
    missing: Sequence[int],
    console: Console,
) -> None:
    peak_memory = gauge(vlm.device)
    with progress(console, len(units), len(units) - len(missing)) as bar:
        for index in missing:
            bar.begin(units[index].name)
            started = time.perf_counter()
            data = experiment.measure(vlm, spec, units[index], prepared)
            folder.write_unit(index, data, time.perf_counter() - started, peak_memory())
            bar.advance()


def _finish(experiment: Experiment[SpecT], spec: SpecT, reader: Reader, folder: RunFolder, units: int) -> FinishedRun:
    summary = experiment.summarise(spec, [folder.read_unit(index) for index in range(units)])
    folder.write_summary(summary)
    figures = experiment.report.figures(summary)
    for figure in figures:
        folder.write_figure(figure.name, figure.png, figure.pdf, figure.csv)
    done = folder.manifest.done(now())
    folder.write_report(experiment.page(spec, reader, summary, figures, to_json(done)))
    folder.finish(done)
    return FinishedRun(folder.path, done, summary)
