"""``finst reproduce`` runs a plan and writes its pages; ``finst report`` writes them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from finst.cli import effects
from finst.cli.options import Effects, PlanChoice, Report, Reproduce
from finst.cli.plans import chosen_plan, default_folder
from finst.cli.rehearse import forecast, rehearsal_command
from finst.errors import FinstError
from finst.experiments.api import load
from finst.experiments.cma.explorer.page import HEADS_PAGE
from finst.plans.heads import reproduction_heads
from finst.plans.models import side_by_side
from finst.plans.page import PAGE, reproduction_page
from finst.plans.plan import Plan
from finst.plans.record import Reproduction, StepRecord, known_record
from finst.plans.reproduce import is_finished, reproduce
from finst.plans.subjects import refuse_twice
from finst.rehearsal.estimate import StepEstimate
from finst.rehearsal.known import key_of, known
from finst.report.tables import aligned
from finst.runs.archive import write_atomically
from finst.runs.backends.open_backend import open_backend
from finst.runs.finished import manifest_of
from finst.runs.progress import print_line
from finst.runs.spec import to_json
from finst.vlm.open import open_reader
from finst.vlm.spec import ModelSpec


@dataclass(frozen=True)
class Reproduced:
    """What a reproduction left in its folder."""

    folder: Path
    record: Reproduction

    @property
    def text(self) -> str:
        """One line a step, for a terminal."""
        rows = [(step.name, step.status, _time(step), _result(self.folder, step)) for step in self.record.steps]
        return "\n".join([*aligned([("step", "status", "time", "result"), *rows]), "", f"page: {self.folder / PAGE}"])


def run(options: Reproduce, console: Console) -> Reproduced:
    """Runs the chosen plan, and writes one table of all finished interventions and one page of the paper's claims.

    Raises FinstError for more than one plan, an executor that cannot be, and whatever
    ``finst.plans.reproduce.reproduce`` refuses.
    """
    plan = chosen_plan(options)
    model = ModelSpec(options.model, options.revision, options.dtype, options.device)
    folder = options.out or default_folder(options.model)
    estimates = _said_before(options, plan, model, folder, console)
    expected = {name: step.total.value for name, step in estimates.items()}
    with open_backend(options.execution, options.device) as backend:
        record = reproduce(plan, model, folder, only=options.only, console=console, expected=expected, backend=backend)
    write_pages(folder, record)
    return Reproduced(folder, record)


def write_pages(folder: Path, record: Reproduction) -> Path:
    """Writes the table of all finished interventions, the page of all heads, and that of the claims, its result."""
    edited = tuple(
        folder / step.name
        for step in record.steps
        if step.status == "finished" and step.experiment in effects.interventions()
    )
    interventions = ""
    if edited:
        page, table, data = (folder / f"interventions.{end}" for end in ("html", "csv", "json"))
        effects.write(Effects(edited, page, table, data))
        interventions = page.name
    heads = reproduction_heads(folder, record)
    if heads:
        write_atomically(folder / HEADS_PAGE, heads.encode())
    claims = reproduction_page(folder, record, interventions, HEADS_PAGE if heads else "")
    write_atomically(folder / PAGE, claims.encode())
    return folder / PAGE


def report(options: Report) -> Path:
    """The page of one reproduction made again, or one page of several side by side.

    Raises FinstError for a folder that holds no reproduction, for one given twice, and for ``out`` with one folder.
    """
    folders = options.folders
    refuse_twice(folders)
    records = [known_record(folder) for folder in folders]
    if len(folders) == 1:
        if options.out is not None:
            raise FinstError("--out was given for one reproduction, whose page lies in its folder: leave it out")
        return write_pages(folders[0], records[0])
    out = options.out or Path("models.html")
    write_atomically(out, side_by_side(folders, records, out).encode())
    return out


def _said_before(
    options: PlanChoice, plan: Plan, model: ModelSpec, folder: Path, console: Console
) -> Mapping[str, StepEstimate]:
    """Estimates of the steps that are to be run; prints what they say, or the command that makes them."""
    reader = open_reader(model.model, revision=model.revision)
    steps = plan.with_heads(options.only or [step.name for step in plan.steps])
    specs = [(step, step.spec(model)) for step in steps]
    keys = {
        step.name: key_of(step, spec, reader, model) for step, spec in specs if not _finished(folder / step.name, spec)
    }
    estimates = known(keys, folder)
    for line in forecast(estimates, [*keys], rehearsal_command(options)):
        print_line(console, line)
    return estimates


def _finished(folder: Path, spec: object) -> bool:
    """Whether the folder holds a finished run with these settings."""
    return is_finished(folder) and manifest_of(folder).spec == to_json(spec)


def _time(step: StepRecord) -> str:
    return "" if step.seconds is None else f"{step.seconds:.0f} s"


def _result(folder: Path, step: StepRecord) -> str:
    return load(folder / step.name).findings.headline if step.status == "finished" else step.reason
