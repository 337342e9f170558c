"""Runs an experiment here: unit by unit into a run folder, then its summary, figures and report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr
from rich.console import Console

from finst.engine.memory import gauge
from finst.report.figures import NamedFigure
from finst.runs.experiment import Experiment, Spec, Unit
from finst.runs.manifest import Manifest, ModelRecord
from finst.runs.progress import progress, say
from finst.runs.provenance import now, session
from finst.runs.spec import differences, to_json
from finst.runs.store import RunFolder
from finst.vlm.open import VLM, Reader, open_reader, open_vlm

SpecT = TypeVar("SpecT", bound=Spec)

Page = Callable[[SpecT, Reader, xr.Dataset, tuple[NamedFigure, ...], Mapping[str, Any]], str]
"""Makes an experiment's page (HTML) of spec, reader, summary, figures and the manifest as JSON."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """A finished run."""

    folder: Path
    summary: xr.Dataset
    report: Path
    manifest: Manifest


def run(
    experiment: Experiment[SpecT],
    spec: SpecT,
    out: Path,
    page: Page[SpecT],
    *,
    console: Console | None = None,
    vlm: VLM | None = None,
) -> RunResult:
    """Measures what is missing in the folder ``out``, then writes summary, figures and report there.

    ``vlm`` is the spec's model, where it is open already. A run that was killed at any moment goes on where it was and
    ends with the same bytes of data. Raises FinstError for bad input, before any weight loads where that can be known,
    and when the folder holds anything but this run or another process works on it. A KeyboardInterrupt says how much is
    kept.
    """
    folder = RunFolder.claim(out, experiment.name, to_json(spec))
    reader = vlm.reader if vlm else open_reader(spec.model, revision=spec.revision)
    experiment.check(spec, reader)
    units = experiment.plan(spec)
    console = console or Console(stderr=True)
    say(console, f"{experiment.name} of {reader.id}: {len(units)} units into {out}")
    vlm = vlm or open_vlm(reader, dtype=spec.dtype, device=spec.device)
    with folder.held(), _telling_what_is_kept(folder, len(units)):
        _begin(folder, vlm, spec, len(units), console)
        _measure(experiment, spec, vlm, folder, units, console)
        return _finish(experiment, spec, reader, folder, len(units), page)


def _begin(folder: RunFolder, vlm: VLM, spec: Spec, units: int, console: Console) -> None:
    """Says so when versions or machine are not those of the session before: the numbers may round differently."""
    model = ModelRecord(vlm.reader.id, vlm.reader.revision, vlm.weights_hash, spec.dtype, str(vlm.device))
    *_, before, here = (None, *folder.begin(model, units, session()).sessions)
    if before is None:
        return
    changed = differences({**before.versions, **before.machine}, {**here.versions, **here.machine})
    if changed:
        listed = "; ".join(changed)
        say(console, f"note: unlike the session before, so numbers may round differently from here on: {listed}")


@contextmanager
def _telling_what_is_kept(folder: RunFolder, units: int) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        kept = sum(folder.has_unit(index) for index in range(units))
        raise KeyboardInterrupt(
            f"{kept} of {units} units are kept in {folder.path}, and the same command goes on from there"
        ) from interrupt


def _finish(
    experiment: Experiment[SpecT], spec: SpecT, reader: Reader, folder: RunFolder, units: int, page: Page[SpecT]
) -> RunResult:
    summary = experiment.summarise(spec, [folder.read_unit(index) for index in range(units)])
    folder.write_summary(summary)
    figures = experiment.draw(summary)
    for figure in figures:
        folder.write_figure(figure.name, figure.png, figure.pdf, figure.csv)
    done = folder.manifest.done(now())
    folder.write_report(page(spec, reader, summary, figures, to_json(done)))
    folder.finish(done)
    return RunResult(folder.path, summary, folder.report_path, done)


def _measure(
    experiment: Experiment[SpecT], spec: SpecT, vlm: VLM, folder: RunFolder, units: Sequence[Unit], console: Console
) -> None:
    missing = [index for index in range(len(units)) if not folder.has_unit(index)]
    peak_memory = gauge(vlm.device)
    with progress(console, len(units), len(units) - len(missing)) as bar:
        for index in missing:
            bar.begin(units[index].name)
            started = time.perf_counter()
            data = experiment.measure(vlm, spec, units[index])
            folder.write_unit(index, data, time.perf_counter() - started, peak_memory())
            bar.advance()
