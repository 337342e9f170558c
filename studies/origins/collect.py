"""All results as tables and figures.

``python -m studies.origins.collect studies/origins/results.jsonl --out docs/figures/origins --note docs/origins.md``
"""

from __future__ import annotations

import argparse
import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from studies.origins.contrasts import comparison
from studies.origins.evidence import sentences
from studies.origins.figures import causes_figure, causes_rows
from studies.origins.lineages import arrivals, selection_first
from studies.origins.note import filled
from studies.origins.rows import Row, read, row_of, trajectory_of
from studies.origins.tables import details, overview, steering_of_long
from studies.origins.trajectories import when_figure, when_rows


def csv_of(rows: Sequence[Row]) -> str:
    """One line a row, all columns; numbers with four decimals."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {column: round(value, 4) if isinstance(value, float) else value for column, value in row.items()}
        for row in rows
    )
    return buffer.getvalue()


def collect(files: Sequence[Path], out: Path, note: Path | None = None) -> str:
    """Writes ``trainings.csv``, ``trainings.md``, and the figures with their numbers as far as there are any.

    Fills the blocks of ``note``, if there is one. Returns how many trainings are in which state, and the sentences.
    Raises FinstError if the note lacks a block; nothing is written then.
    """
    lines = read(files)
    rows = [row_of(line) for line in lines]
    path = [row for line in lines for row in trajectory_of(line)]
    known = [row for row in rows if row["binds"] is not None]
    found = sentences(known)
    renewed = None
    if note is not None:
        blocks = {"answer": " ".join(found), "trainings": overview(known), "steering": steering_of_long(known)}
        blocks |= {"order": selection_first(path), "arrivals": arrivals(path)}
        renewed = filled(note.read_text(), blocks)
    out.mkdir(parents=True, exist_ok=True)
    (out / "trainings.csv").write_text(csv_of(rows))
    (out / "trainings.md").write_text("\n".join(part for part in (details(known), comparison(known)) if part))
    if known:
        (out / "causes.png").write_bytes(causes_figure(known))
        (out / "causes.csv").write_text(csv_of(causes_rows(known)))
    if path:
        (out / "when.png").write_bytes(when_figure(path))
        (out / "when.csv").write_text(csv_of(when_rows(path)))
    if note is not None and renewed is not None:
        note.write_text(renewed)
    states = ", ".join(f"{count} {state}" for state, count in Counter(row["status"] for row in rows).items())
    return "\n\n".join([states, *found]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Collects results."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="results.jsonl of one or several studies")
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and figures")
    parser.add_argument("--note", type=Path, help="Markdown whose blocks are filled with the numbers")
    options = parser.parse_args(arguments)
    print(collect(options.results, options.out, options.note), end="")


if __name__ == "__main__":
    main()
