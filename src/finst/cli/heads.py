"""``finst heads``: a page on which the heads of a finished run of causal mediation are explored."""

from __future__ import annotations

import os
from pathlib import Path

from finst.cli.options import Heads
from finst.experiments.cma.explorer.page import HEADS_PAGE
from finst.experiments.cma.explorer.run import heads_page_of
from finst.runs.archive import write_atomically
from finst.runs.finished import finished_run


def write(options: Heads) -> Path:
    """Writes the page and returns its path. Raises FinstError for anything but a finished run of causal mediation."""
    run, out = finished_run(options.run), place_of(options)
    report = Path(os.path.relpath(run.report, out.parent)).as_posix()
    write_atomically(out, heads_page_of(run, report).encode())
    return out


def place_of(options: Heads) -> Path:
    """The file of the page."""
    return options.run / HEADS_PAGE if options.out is None else options.out
