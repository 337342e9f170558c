"""``finst compare``: finished runs of one experiment side by side, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import tyro

from finst.errors import FinstError, choice
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.side_by_side import Side, headline, table
from finst.experiments.cma.side_figures import side_figures
from finst.experiments.registry import INTERVENTIONS
from finst.experiments.representations.accuracy import Accuracy
from finst.experiments.representations.entropy import RSAEntropy
from finst.experiments.representations.frame import RSAFrame
from finst.experiments.representations.pca import PCA
from finst.experiments.representations.stages import RSAStages
from finst.report.figures import NamedFigure
from finst.report.page import plain_sides_page, sides_page
from finst.report.tables import aligned
from finst.runs.archive import write_atomically
from finst.runs.experiment import Told
from finst.runs.finished import FinishedRun, comparable_runs, differences_between, labels_of
from finst.runs.spec import to_json
from finst.runs.store import write_figure

TOLD: Mapping[str, Told[Any]] = MappingProxyType(
    {one.name: one for one in (PCA(), RSAStages(), RSAFrame(), RSAEntropy(), Accuracy())}
    | {name: entry.kind(None) for name, entry in INTERVENTIONS.items()}
)
"""The experiments that tell in words what they found, by name."""


@dataclass(frozen=True)
class CompareSpec:
    """Finished runs of one experiment side by side, on one page; their models may be of any size."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of two runs or more."""
    out: Path = Path("comparison.html")
    """The page; replaced if it exists."""
    figures: Path | None = None
    """Also writes each figure into this folder, as PNG and PDF beside its numbers as CSV."""


@dataclass(frozen=True)
class Comparison:
    """A page, its figures, and what the terminal shows."""

    html: str
    figures: tuple[NamedFigure, ...]
    text: str


def write(spec: CompareSpec) -> str:
    """Writes the page, and the figures where they are wanted; what the terminal shows.

    Raises FinstError for runs that cannot be compared, and for a folder that cannot be made.
    """
    runs = comparable_runs(spec.runs)
    if spec.figures is not None:
        try:
            spec.figures.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise FinstError(f"cannot make the folder {spec.figures}: {cause.strerror}") from cause
    comparison = compare(runs)
    if spec.figures is not None:
        for figure in comparison.figures:
            write_figure(spec.figures, figure.name, figure.png, figure.pdf, figure.csv)
    write_atomically(spec.out, comparison.html.encode())
    return f"{comparison.text}\n\npage: {spec.out}"


def compare(runs: Sequence[FinishedRun]) -> Comparison:
    """Of causal mediation: maps on common scales, stages and their order; of the others: accounts and figures.

    Raises FinstError for an experiment that this finst does not have, and for numbers that an older one left out.
    """
    experiment = runs[0].manifest.experiment
    try:
        if experiment == CMA.name:
            return _mediation(runs)
        if experiment in TOLD:
            return _told(TOLD[experiment], runs)
    except KeyError as missing:
        raise FinstError(
            f"one of the runs was summarised by an older finst and lacks {missing}: the command that made it, given "
            "once more, keeps what was measured and writes the summary anew"
        ) from missing
    raise choice("experiment", experiment, (CMA.name, *TOLD))


def _mediation(runs: Sequence[FinishedRun]) -> Comparison:
    sides = [Side(label, run.summary) for label, run in zip(labels_of(runs), runs, strict=True)]
    text = "\n".join([headline(sides), "", *aligned(table(sides))])
    figures = side_figures(sides)
    return Comparison(sides_page(sides, figures, _records(runs), differences_between(runs)), figures, text)


def _told(experiment: Told[Any], runs: Sequence[FinishedRun]) -> Comparison:
    labels = labels_of(runs)
    accounts = [experiment.account(run.summary) for run in runs]
    figures = [
        {figure.name: replace(figure, name=f"{figure.name}-{place}") for figure in experiment.draw(run.summary)}
        for place, run in enumerate(runs, 1)
    ]
    html = plain_sides_page(labels, accounts, figures, _records(runs), differences_between(runs))
    said = [f"{label}: {account.headline}" for label, account in zip(labels, accounts, strict=True)]
    return Comparison(html, tuple(figure for row in figures for figure in row.values()), "\n".join(said))


def _records(runs: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    return [{"folder": str(run.path), **to_json(run.manifest)} for run in runs]
