"""The commands of ``finst``: options from the frozen dataclasses of the API, results printed for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro
import xarray as xr
from rich.console import Console

from finst.bench import attribution
from finst.bench.grid import BenchGrid, grid
from finst.bench.paper import BenchPaper, paper
from finst.bench.precision import BenchPrecision, precision
from finst.bench.rsa import BenchRSA, rsa
from finst.bench.sweep import BenchSweep, sweep
from finst.builtin.organism import train
from finst.cli import check as checking
from finst.cli import compare as comparison
from finst.cli import effects as effects
from finst.cli import inspect as inspection
from finst.cli import models as registry
from finst.cli import verify as verification
from finst.errors import FinstError
from finst.experiments.cma.experiment import CMA, CMASpec, example
from finst.experiments.cma.stored import head_maps
from finst.experiments.cma.verdict import verdict
from finst.experiments.interventions.spec import InterventionSpec
from finst.experiments.registry import INTERVENTIONS
from finst.experiments.representations.accuracy import Accuracy, AccuracySpec
from finst.experiments.representations.entropy import RSAEntropy, RSAEntropySpec
from finst.experiments.representations.frame import RSAFrame, RSAFrameSpec
from finst.experiments.representations.pca import PCA, PCASpec
from finst.experiments.representations.stages import RSAStages, RSAStagesSpec
from finst.experiments.representations.trials import TrialSpec
from finst.experiments.reproduction.choices import DiscrepancySpec
from finst.experiments.reproduction.study import explain
from finst.report.figures import NamedFigure
from finst.report.page import page, plain_page
from finst.runs.archive import write_atomically
from finst.runs.executor import Page, run
from finst.runs.experiment import Told
from finst.runs.factors import with_factors
from finst.runs.progress import progress, say
from finst.runs.spec import to_json
from finst.scenes.renders.render import RenderSpec, rendering
from finst.vlm.open import Reader, open_reader

Factors = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=VALUE")]
"""``--factor NAME=VALUE``, any number of times."""

OptionsT = TypeVar("OptionsT")
MeasuredT = TypeVar("MeasuredT")
SpecT = TypeVar("SpecT", bound=TrialSpec | AccuracySpec | InterventionSpec)


@dataclass(frozen=True)
class Demo:
    """The paper's central result on the model that comes with finst: causal mediation over every attention head."""

    out: Path = Path("runs/demo")
    """Folder of the run; a second call takes up what is there."""


@dataclass(frozen=True)
class RunCMA:
    """Causal mediation over every attention head of a model, into a run folder with a report."""

    spec: Annotated[CMASpec, tyro.conf.arg(name="")]
    factor: Factors = ()
    """Any of the other options by name, such as --factor readout=patched_tokens, --factor samples=1 or --factor
    dtype=bf16: one choice of another reproduction at a time. May be given several times."""
    out: Path = Path("runs/cma")
    """Folder of the run: a new one, or that of the same run, which then goes on where it stopped."""


@dataclass(frozen=True)
class Run(Generic[SpecT]):
    """What every other experiment is told."""

    spec: Annotated[SpecT, tyro.conf.arg(name="")]
    factor: Factors = ()
    """Any of the other options by name, such as --factor leak_target_colour=true or --factor
    tensor=post_attention_norm: one choice of another reproduction at a time. May be given several times."""
    out: Path | None = None
    """Folder of the run: a new one, or that of the same run, which then goes on where it stopped. runs/NAME if None."""


@dataclass(frozen=True)
class RunInterventions:
    """All interventions one after the other with the heads of one run of causal mediation, and one table of effects."""

    spec: Annotated[InterventionSpec, tyro.conf.arg(name="")]
    out: Path = Path("runs/interventions")
    """Folder with a run of each in a folder of its name; a second call takes up what is there."""


@dataclass(frozen=True)
class ExplainDiscrepancy:
    """Runs the choices of a public reproduction one at a time and shows which of them bends which curve or map."""

    spec: Annotated[DiscrepancySpec, tyro.conf.arg(name="")]
    out: Path = Path("runs/discrepancy")
    """Folder of the study: a new one, or that of the same study, which then goes on where it stopped."""


@dataclass(frozen=True)
class ToFile(Generic[MeasuredT]):
    """What every benchmark is told, and ``verify``."""

    spec: Annotated[MeasuredT, tyro.conf.arg(name="")]
    json: Path | None = None
    """Also writes the result there; replaced if it exists."""


@dataclass(frozen=True)
class Render:
    """Pictures of two coloured things, left and right, on a beach, in a salt desert and in a museum, with masks."""

    spec: Annotated[RenderSpec, tyro.conf.arg(name="")]
    out: Path = Path("renders")
    """Folder: a new one, or that of the same pictures, which then goes on where it stopped."""


def _options(
    kind: Callable[..., OptionsT], command: str, arguments: Sequence[str], description: str | None = None
) -> OptionsT:
    return tyro.cli(kind, prog=command, args=list(arguments), description=description)


def demo(command: str, arguments: Sequence[str]) -> None:
    """``finst demo``."""
    _mediate(CMASpec(model="organism"), _options(Demo, command, arguments).out)


def run_cma(command: str, arguments: Sequence[str]) -> None:
    """``finst run cma``."""
    options = _options(RunCMA, command, _named(arguments))
    _mediate(with_factors(options.spec, options.factor), options.out)


def run_pca(command: str, arguments: Sequence[str]) -> None:
    """``finst run pca``."""
    _run(PCA(), PCASpec, command, arguments)


def run_rsa_stages(command: str, arguments: Sequence[str]) -> None:
    """``finst run rsa-stages``."""
    _run(RSAStages(), RSAStagesSpec, command, arguments)


def run_rsa_frame(command: str, arguments: Sequence[str]) -> None:
    """``finst run rsa-frame``."""
    _run(RSAFrame(), RSAFrameSpec, command, arguments)


def run_rsa_entropy(command: str, arguments: Sequence[str]) -> None:
    """``finst run rsa-entropy``."""
    _run(RSAEntropy(), RSAEntropySpec, command, arguments)


def run_accuracy(command: str, arguments: Sequence[str]) -> None:
    """``finst run accuracy``."""
    _run(Accuracy(), AccuracySpec, command, arguments)


def run_intervention(command: str, arguments: Sequence[str]) -> None:
    """``finst run NAME`` of those that edit the heads of causal mediation, which goes first unless there is a run."""
    name = command.split()[-1]
    entry = INTERVENTIONS[name]
    options = _asked(entry.spec, command, arguments)
    out = options.out or Path("runs") / name
    entry.kind(None).check(options.spec, open_reader(options.spec.model, revision=options.spec.revision))
    folder = options.spec.cma or _mediated(options.spec, out.with_name(f"{out.name}-cma"))
    _tell(entry.kind(head_maps(folder)), options.spec, out)


def run_interventions(command: str, arguments: Sequence[str]) -> None:
    """``finst run interventions``."""
    options = _options(RunInterventions, command, _named(arguments))
    specs, refused = effects.specs_of(options.spec, open_reader(options.spec.model, revision=options.spec.revision))
    folder = options.spec.cma or _mediated(options.spec, options.out / "cma")
    for name, spec in specs.items():
        _tell(INTERVENTIONS[name].kind(head_maps(folder)), spec, options.out / name)
    page, table, data = (options.out / f"interventions.{end}" for end in ("html", "csv", "json"))
    told = effects.write(effects.InterventionsSpec(tuple(options.out / name for name in specs), page, table, data))
    print("\n".join(["", told, *(f"not run: {name}: {why}" for name, why in refused.items())]))


def explain_discrepancy(command: str, arguments: Sequence[str]) -> None:
    """``finst explain-discrepancy``."""
    options = _options(ExplainDiscrepancy, command, _named(arguments))
    found = explain(options.spec, options.out, {"rsa-stages": told_page(RSAStages()), "cma": _cma_page})
    print(f"\n{found.account.text}\n\nreport: {found.report}")


def _run(experiment: Told[SpecT], kind: type[SpecT], command: str, arguments: Sequence[str]) -> None:
    """Measures, writes the report, and says what was found."""
    options = _asked(kind, command, arguments)
    _tell(experiment, options.spec, options.out or Path("runs") / experiment.name)


def _mediated(spec: InterventionSpec, folder: Path) -> Path:
    """Runs causal mediation as an intervention asks for it."""
    asked = ("model", "revision", "pairs", "placement", "dtype", "device")
    run(CMA(), CMASpec(**{name: getattr(spec, name) for name in asked}), folder, _cma_page)
    return folder


def _asked(kind: type[SpecT], command: str, arguments: Sequence[str]) -> Run[SpecT]:
    whole: Callable[..., Run[SpecT]] = Run[kind]
    options = _options(whole, command, _named(arguments), kind.__doc__)
    return replace(options, spec=with_factors(options.spec, options.factor))


def _tell(experiment: Told[SpecT], spec: SpecT, out: Path) -> None:
    result = run(experiment, spec, out, told_page(experiment))
    print(f"\n{experiment.account(result.summary).text}\n\nreport: {result.report}")


def told_page(experiment: Told[SpecT]) -> Page[SpecT]:
    """Of an experiment that has no page of its own."""

    def told(
        spec: SpecT,
        reader: Reader,
        summary: xr.Dataset,
        figures: tuple[NamedFigure, ...],
        manifest: Mapping[str, Any],
    ) -> str:
        return plain_page(experiment.account(summary), figures, experiment.example(spec, reader), manifest)

    return told


def _named(arguments: Sequence[str]) -> list[str]:
    """``MODEL ...`` as ``--model MODEL ...``."""
    bare = arguments and not arguments[0].startswith("-")
    return ["--model", *arguments] if bare else [*arguments]


def _mediate(spec: CMASpec, out: Path) -> None:
    result = run(CMA(), spec, out, _cma_page)
    print(f"\n{verdict(result.summary, top=3)}\n\nreport: {result.report}")


def _cma_page(
    spec: CMASpec,
    reader: Reader,
    summary: xr.Dataset,
    figures: tuple[NamedFigure, ...],
    manifest: Mapping[str, Any],
) -> str:
    return page(summary, figures, example(spec, reader), manifest)


def inspect(command: str, arguments: Sequence[str]) -> None:
    """``finst inspect``."""
    print(f"drawn: {inspection.inspect(_options(inspection.InspectSpec, command, arguments))}")


def render(command: str, arguments: Sequence[str]) -> None:
    """``finst render``."""
    options = _options(Render, command, arguments)
    work, console = rendering(options.spec, options.out), Console()
    left = work.left
    with progress(console, len(work.shots), len(work.shots) - len(left)) as reporter:
        for name in left:
            reporter.begin(name)
            work.render(name)
            reporter.advance()
    work.finish()
    say(console, f"rendered: {options.out}")


def compare(command: str, arguments: Sequence[str]) -> None:
    """``finst compare``."""
    options = _options(comparison.CompareSpec, command, arguments)
    _check_place(options.out)
    print(comparison.write(options))


def interventions(command: str, arguments: Sequence[str]) -> None:
    """``finst interventions``."""
    options = _options(effects.InterventionsSpec, command, arguments)
    for place in (options.out, options.csv, options.json):
        _check_place(place)
    print(effects.write(options))


def models(command: str, arguments: Sequence[str]) -> None:
    """``finst models``."""
    options, found = _options(registry.Models, command, arguments), registry.models()
    print(json.dumps([to_json(model) for model in found], indent=2) if options.json else registry.table(found))


def check(command: str, arguments: Sequence[str]) -> None:
    """``finst check``."""
    spec = _options(checking.CheckSpec, command, arguments)
    found = checking.check(spec)
    print(json.dumps(to_json(found), indent=2) if spec.json else checking.text(found))


def train_organism(command: str, arguments: Sequence[str]) -> None:
    """``finst train organism``."""
    print(f"trained: {train.train(_options(train.TrainSpec, command, arguments))}")


def bench_sweep(command: str, arguments: Sequence[str]) -> None:
    """``finst bench sweep``."""
    _benchmark(BenchSweep, sweep, command, arguments)


def bench_paper(command: str, arguments: Sequence[str]) -> None:
    """``finst bench paper``."""
    _benchmark(BenchPaper, paper, command, arguments)


def bench_precision(command: str, arguments: Sequence[str]) -> None:
    """``finst bench precision``."""
    _benchmark(BenchPrecision, precision, command, arguments)


def bench_grid(command: str, arguments: Sequence[str]) -> None:
    """``finst bench grid``."""
    _benchmark(BenchGrid, grid, command, arguments)


def bench_rsa(command: str, arguments: Sequence[str]) -> None:
    """``finst bench rsa``."""
    _benchmark(BenchRSA, rsa, command, arguments)


def bench_attribution(command: str, arguments: Sequence[str]) -> None:
    """``finst bench attribution``."""
    options = _to_file(attribution.BenchAttribution, command, arguments)
    found = attribution.compare(options.spec)
    print(attribution.table(found))
    _write_json(to_json(found), options.json)


def verify(command: str, arguments: Sequence[str]) -> int:
    """``finst verify``."""
    options = _to_file(verification.VerifySpec, command, arguments)
    found = verification.verify(options.spec)
    print(verification.table(found))
    _write_json({**to_json(found), "outcome": found.outcome}, options.json)
    return int(found.outcome == "not reproduced")


def _to_file(kind: type[MeasuredT], command: str, arguments: Sequence[str]) -> ToFile[MeasuredT]:
    """Raises FinstError for a place that cannot be written to, before the work."""
    whole: Callable[..., ToFile[MeasuredT]] = ToFile[kind]
    options = _options(whole, command, arguments, kind.__doc__)
    _check_place(options.json)
    return options


def _benchmark(
    kind: type[MeasuredT], measure: Callable[[MeasuredT], Mapping[str, Any]], command: str, arguments: Sequence[str]
) -> None:
    """Prints what was measured."""
    options = _to_file(kind, command, arguments)
    found = measure(options.spec)
    print(json.dumps(found, indent=2))
    _write_json(found, options.json)


def _check_place(file: Path | None) -> None:
    """Raises FinstError before the work, not after it."""
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise FinstError(f"cannot write {file}: expected a file in a folder that exists")


def _write_json(result: Mapping[str, Any], file: Path | None) -> None:
    if file is not None:
        write_atomically(file, f"{json.dumps(result, indent=2)}\n".encode())
