"""``finst reproduce`` runs a plan and writes its pages; ``finst report`` writes them again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from finst.cli import effects
from finst.cli.options import Effects, Report, Reproduce, Score, check_one_plan
from finst.errors import FinstError
from finst.experiments.api import load
from finst.experiments.cma.heads_page import HEADS_PAGE
from finst.plans.heads import reproduction_heads
from finst.plans.models import side_by_side
from finst.plans.page import PAGE, reproduction_page
from finst.plans.plan import Plan, read_plan, shipped_plan
from finst.plans.record import Reproduction, StepRecord, read_record
from finst.plans.reproduce import reproduce
from finst.report.tables import aligned
from finst.runs.archive import write_atomically
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

    Raises FinstError for more than one plan, and whatever ``finst.plans.reproduce.reproduce`` refuses.
    """
    plan = chosen_plan(options)
    model = ModelSpec(options.model, options.revision, options.dtype, options.device)
    folder = options.out or default_folder(options.model)
    record = reproduce(plan, model, folder, only=options.only, console=console)
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
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise FinstError("a folder was given twice: expected different reproductions")
    records = [recorded(folder) for folder in folders]
    if len(folders) == 1:
        if options.out is not None:
            raise FinstError("--out was given for one reproduction, whose page lies in its folder: leave it out")
        return write_pages(folders[0], records[0])
    out = options.out or Path("models.html")
    write_atomically(out, side_by_side(folders, records, out).encode())
    return out


def recorded(folder: Path) -> Reproduction:
    """The record of the reproduction in ``folder``. Raises FinstError where there is none, or a damaged one."""
    record = read_record(folder)
    if record is None:
        raise FinstError(f"{folder} holds no reproduction: expected a folder that finst reproduce has made")
    return record


def default_folder(model: str) -> Path:
    """The folder of a model's reproduction where none is given."""
    return Path("runs") / f"reproduce-{Path(model).name}"


def chosen_plan(options: Reproduce | Score) -> Plan:
    """The plan that the options name; the small one if they name none. Raises FinstError for more than one."""
    check_one_plan(options)
    if options.plan is not None:
        return read_plan(options.plan)
    return shipped_plan("full" if options.full else "fast")


def _time(step: StepRecord) -> str:
    return "" if step.seconds is None else f"{step.seconds:.0f} s"


def _result(folder: Path, step: StepRecord) -> str:
    return load(folder / step.name).findings.headline if step.status == "finished" else step.reason
