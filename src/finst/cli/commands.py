"""The function of each command: runs it with its options and prints the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from finst.builtin.organism.training.spec import TrainSpec
from finst.builtin.organism.training.train import train
from finst.cli import check as checking
from finst.cli import compare as comparison
from finst.cli import effects as effects_table
from finst.cli import heads as explorer
from finst.cli import inspect as inspection
from finst.cli import models as published
from finst.cli import options
from finst.cli import rehearse as rehearsing
from finst.cli import reproduce as reproduction
from finst.cli import score as scoring
from finst.cli.verification import verify as verification
from finst.errors import FinstError
from finst.experiments.api import Run
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.stored import head_maps
from finst.experiments.interventions.heads import check_maps, check_shape
from finst.experiments.interventions.protocol import check_mediated, mediated
from finst.experiments.registry import experiment_of
from finst.experiments.reproduction.study import explain
from finst.runs import executor
from finst.runs import export as exporting
from finst.runs.archive import write_atomically
from finst.runs.backends.backend import Backend
from finst.runs.backends.open_backend import open_backend
from finst.runs.factors import with_factors
from finst.runs.finished import finished_run
from finst.runs.progress import print_line, progress, waiting
from finst.runs.spec import to_json
from finst.runs.store import RunFolder
from finst.scenes.renders.render import rendering
from finst.vlm.open import open_reader, open_vlm


def demo(_: str, chosen: options.Demo) -> None:
    """``finst demo``."""
    _run("cma", CMASpec(model="organism"), chosen.out)


def run_experiment(name: str, chosen: options.RunExperiment[Any]) -> None:
    """``finst run NAME``."""
    spec = with_factors(chosen.spec, chosen.factor)
    with open_backend(chosen.execution, spec.device) as backend:
        _run(name, spec, chosen.out or Path("runs") / name, backend=backend)


def _run(name: str, spec: Any, out: Path, **available: Any) -> None:
    """Runs an experiment (see ``executor.run`` for ``available``) and prints its findings."""
    experiment = experiment_of(name)
    result = Run(experiment, executor.run(experiment, spec, out, **available))
    print(f"\n{result.findings.text}\n\nreport: {result.report}")


def run_interventions(_: str, chosen: options.RunInterventions) -> None:
    """``finst run interventions``: a process opens the model, and hashes its weights, once for all of them."""
    with open_backend(chosen.execution, chosen.spec.device) as backend:
        _run_interventions(chosen, backend)


def _run_interventions(chosen: options.RunInterventions, backend: Backend) -> None:
    spec, console, made = chosen.spec, Console(stderr=True), chosen.out / "cma"
    reader = open_reader(spec.model, revision=spec.revision)
    with waiting(console, "planning all interventions"):
        plan = effects_table.planned(chosen, reader)
        for name, settings in plan.specs.items():
            RunFolder.claim(chosen.out / name, name, to_json(settings))
        if spec.cma is None:
            check_mediated(spec, made, reader)
        else:
            check_shape(head_maps(spec.cma), spec.cma, reader)
    for line in plan.applied:
        print_line(console, line)
    with waiting(console, f"reading the weights of {reader.id}"):
        vlm = open_vlm(reader, dtype=spec.dtype, device=spec.device)
        if spec.cma is not None:
            check_maps(head_maps(spec.cma), vlm)
    maps = head_maps(spec.cma or mediated(spec, made, vlm, console, backend))
    specs, refused = plan.specs, plan.refused
    for name, settings in specs.items():
        _run(name, settings, chosen.out / name, vlm=vlm, console=console, inputs=maps, backend=backend)
    page, table, data = (chosen.out / f"interventions.{end}" for end in ("html", "csv", "json"))
    text = effects_table.write(options.Effects(tuple(chosen.out / name for name in specs), page, table, data))
    print("\n".join(["", text, *(f"not run: {name}: {why}" for name, why in refused.items())]))


def reproduce(_: str, chosen: options.Reproduce) -> int:
    """``finst reproduce``."""
    result = reproduction.run(chosen, Console(stderr=True))
    print(result.text)
    return int(not result.record.complete)


def report(_: str, chosen: options.Report) -> None:
    """``finst report``."""
    _check_place(chosen.out)
    print(f"page: {reproduction.report(chosen)}")


def score(_: str, chosen: options.Score) -> int:
    """``finst score``."""
    _check_place(chosen.page)
    result = scoring.run(chosen, Console(stderr=True))
    print(result.text)
    return int(not result.complete)


def rehearse(_: str, chosen: options.Rehearse) -> int:
    """``finst rehearse``."""
    result = rehearsing.run(chosen, Console(stderr=True))
    print(result.text)
    return int(any(step.sample is None for step in result.steps))


def explain_discrepancy(_: str, chosen: options.ExplainDiscrepancy) -> None:
    """``finst explain-discrepancy``."""
    study = explain(chosen.spec, chosen.out)
    print(f"\n{study.findings.text}\n\nreport: {study.report}")


def inspect(_: str, chosen: options.Inspect) -> None:
    """``finst inspect``."""
    print(f"drawn: {inspection.inspect(chosen)}")


def render(_: str, chosen: options.Render) -> None:
    """``finst render``."""
    work, console = rendering(chosen.spec, chosen.out), Console()
    missing = work.left
    with progress(console, len(work.shots), len(work.shots) - len(missing)) as reporter:
        for name in missing:
            reporter.begin(name)
            work.render(name)
            reporter.advance(name)
    work.finish()
    print_line(console, f"rendered: {chosen.out}")


def export(_: str, chosen: options.Export) -> None:
    """``finst export``."""
    out = chosen.out or chosen.run.with_name(f"{chosen.run.resolve().name}-{chosen.to}")
    files = exporting.export(finished_run(chosen.run), chosen.to, out)
    print(f"exported: {out} ({len(files)} files)")


def compare(_: str, chosen: options.Compare) -> None:
    """``finst compare``."""
    _check_place(chosen.out)
    print(comparison.write(chosen))


def effects(_: str, chosen: options.Effects) -> None:
    """``finst interventions``."""
    for place in (chosen.out, chosen.csv, chosen.json):
        _check_place(place)
    print(effects_table.write(chosen))


def heads(_: str, chosen: options.Heads) -> None:
    """``finst heads``."""
    _check_place(explorer.place_of(chosen))
    print(f"page: {explorer.write(chosen)}")


def models(_: str, chosen: options.Models) -> None:
    """``finst models``."""
    rows = published.models()
    print(json.dumps([to_json(model) for model in rows], indent=2) if chosen.json else published.table(rows))


def check(_: str, chosen: options.Check) -> None:
    """``finst check``."""
    result = checking.check(chosen)
    print(json.dumps(to_json(result), indent=2) if chosen.json else result.text)


def train_organism(_: str, chosen: TrainSpec) -> None:
    """``finst train organism``."""
    print(f"trained: {train(chosen)}")


def benchmark(name: str, chosen: options.ToFile[Any]) -> None:
    """``finst bench NAME``: ``finst.bench.NAME`` has a function of that name."""
    _check_place(chosen.json)
    measured = getattr(import_module(f"finst.bench.{name}"), name)(chosen.spec)
    print(json.dumps(measured, indent=2))
    _write_json(measured, chosen.json)


def bench_attribution(_: str, chosen: options.ToFile[Any]) -> None:
    """``finst bench attribution``."""
    _check_place(chosen.json)
    attribution = import_module("finst.bench.attribution")
    agreement = attribution.compare(chosen.spec)
    print(attribution.table(agreement))
    _write_json(to_json(agreement), chosen.json)


def verify(_: str, chosen: options.ToFile[options.Verify]) -> int:
    """``finst verify``."""
    _check_place(chosen.json)
    verified = verification.verify(chosen.spec)
    print(verified.text)
    _write_json({**to_json(verified), "outcome": verified.outcome}, chosen.json)
    return int(verified.outcome == "not reproduced")


def _check_place(file: Path | None) -> None:
    """Raises FinstError, before any work, for a file that cannot be written."""
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise FinstError(f"cannot write {file}: expected a file in a folder that exists")


def _write_json(result: Mapping[str, Any], file: Path | None) -> None:
    if file is not None:
        write_atomically(file, f"{json.dumps(result, indent=2)}\n".encode())
