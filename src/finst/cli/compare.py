"""``finst compare``: finished runs of one experiment side by side, on one page."""

from __future__ import annotations

from collections.abc import Sequence

from finst.cli.options import Compare
from finst.errors import FinstError
from finst.experiments.registry import experiment_of
from finst.report.comparison import Side, SideBySide
from finst.runs.archive import write_atomically
from finst.runs.finished import FinishedRun, comparable_runs, differences_between, labels_of
from finst.runs.store import write_figure


def write(options: Compare) -> str:
    """Writes the page, and the figures if a folder is given; returns the text for the terminal.

    Raises FinstError for runs that cannot be compared, and for a folder that cannot be made.
    """
    runs = comparable_runs(options.runs)
    if options.figures is not None:
        try:
            options.figures.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise FinstError(f"cannot make the folder {options.figures}: {cause.strerror}") from cause
    comparison = compare(runs)
    if options.figures is not None:
        for figure in comparison.figures:
            write_figure(options.figures, figure.name, figure.png, figure.pdf, figure.csv)
    write_atomically(options.out, comparison.html.encode())
    return f"{comparison.text}\n\npage: {options.out}"


def compare(runs: Sequence[FinishedRun]) -> SideBySide:
    """Raises FinstError for an unknown experiment, and for a summary by an older finst that lacks numbers."""
    experiment = experiment_of(runs[0].manifest.experiment)
    sides = [Side(label, run.summary, run.record) for label, run in zip(labels_of(runs), runs, strict=True)]
    try:
        return experiment.compare(sides, differences_between(runs))
    except KeyError as missing:
        raise FinstError(
            f"one of the runs was summarised by an older finst and lacks {missing}: repeat the command that made it, "
            "which keeps the measured units and writes a new summary"
        ) from missing
