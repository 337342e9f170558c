"""All results as tables and figures. ``python -m studies.origins.collect results.jsonl ... --out FOLDER``."""

from __future__ import annotations

import argparse
import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from finst.analysis.proportions import wilson
from studies.origins.contrasts import CONTRASTS, cells_of, contrast, mean_of
from studies.origins.figures import causes_figure, trajectory_figure
from studies.origins.rows import Row, read, row_of, trajectory_of

OUTCOMES = {
    "retrieval, logits": "prefill id_retrieval logits",
    "selection, logits": "prefill id_selection logits",
    "features, logits": "prefill feature_retrieval logits",
    "features' median layer": "prefill feature_retrieval median_layer",
    "retrieval steered": "steering id_retrieval after",
    "its control": "steering id_retrieval control_own",
    "selection steered": "steering id_selection after",
    "next in reading order": "next in reading order",
    "description, 2-4": "description, 2-4 objects",
    "low entropy, 5-9": "description, 5-9 objects, low entropy",
    "high entropy, 5-9": "description, 5-9 objects, high entropy",
    "questions": "questions",
    "lists": "lists",
}
"""Columns of the table of groups: the strongest head of each stage with the sentence in the assistant's turn, shares
of pictures in which the other thing is named, and shares of lessons."""

COMPARED = ("retrieval, logits", "selection, logits", "features, logits", "retrieval steered", "low entropy, 5-9")
"""Outcomes that factors are compared by."""


def table(rows: Sequence[Row]) -> str:
    """A row a group: how many seeds bind, and means over seeds with 95 % intervals; Markdown."""
    head = ["group", "bind", *OUTCOMES]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for group in dict.fromkeys(row["group"] for row in rows):
        part = [row for row in rows if row["group"] == group]
        judged = [row["binds"] for row in part if row["binds"] is not None]
        low, high = wilson(sum(judged), len(judged)) if judged else (0.0, 1.0)
        cells = [group, f"{sum(judged)} of {len(judged)} [{low:.2f}, {high:.2f}]"]
        for column in OUTCOMES.values():
            values = [float(row[column]) for row in part if row.get(column) is not None]
            cells.append(mean_of(values).text if values else "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def comparison(rows: Sequence[Row]) -> str:
    """A row a contrast of the factorial, a column an outcome; Markdown. Empty while cells are missing everywhere."""
    lines = []
    for name, weight in CONTRASTS.items():
        estimates = [contrast(cells_of(rows, OUTCOMES[outcome]), weight) for outcome in COMPARED]
        if any(estimates):
            lines.append(f"| {name} | {' | '.join(estimate.text if estimate else '-' for estimate in estimates)} |")
    head = [f"| contrast | {' | '.join(COMPARED)} |", f"|{'---|' * (len(COMPARED) + 1)}"]
    return "\n".join([*head, *lines]) if lines else ""


def csv_of(rows: Sequence[Row]) -> str:
    """One line a row, all columns."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def collect(files: Sequence[Path], out: Path) -> str:
    """Writes ``trainings.csv``, ``tables.md`` and figures, and ``checkpoints.csv`` where there are any; the tables."""
    lines = read(files)
    rows = sorted((row_of(line) for line in lines), key=lambda row: (row["group"], row["seed"]))
    path = [row for line in lines for row in trajectory_of(line)]
    out.mkdir(parents=True, exist_ok=True)
    states = ", ".join(f"{count} {state}" for state, count in Counter(row["status"] for row in rows).items())
    known = [row for row in rows if row["binds"] is not None]
    text = "\n\n".join(part for part in (states, table(known), comparison(known)) if part) + "\n"
    (out / "trainings.csv").write_text(csv_of(rows))
    (out / "tables.md").write_text(text)
    if known:
        (out / "causes.png").write_bytes(causes_figure(known))
    if path:
        (out / "checkpoints.csv").write_text(csv_of(path))
        (out / "trajectories.png").write_bytes(trajectory_figure(path))
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Collects results."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="results.jsonl of one or several studies")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    print(collect(options.results, options.out))


if __name__ == "__main__":
    main()
