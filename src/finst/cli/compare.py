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
    """Writes the page, and the figures where they are wanted; returns what the terminal shows.

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
    """Raises FinstError for an experiment that this finst does not have, and for numbers that an older one left out."""
    experiment = experiment_of(runs[0].manifest.experiment)
    sides = [Side(label, run.summary, run.record) for label, run in zip(labels_of(runs), runs, strict=True)]
    try:
        return experiment.compare(sides, differences_between(runs))
    except KeyError as missing:
        raise FinstError(
            f"one of the runs was summarised by an older finst and lacks {missing}: the command that made it, given "
            "once more, keeps what was measured and writes the summary anew"
        ) from missing
