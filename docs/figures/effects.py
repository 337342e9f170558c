"""Prints the table of all effects on one model, as docs/interventions.md has it, from effects.csv beside this file."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from finst.report.wording import format_p, share

COLUMNS = ("experiment", "hit", "setting", "n", "before", "after", "controls, same", "controls, own best", "p")
EFFECTS = Path(__file__).with_name("effects.csv")


def table(model: str) -> str:
    """Markdown, shares in %; bold where an effect is beyond both kinds of controls."""
    with EFFECTS.open(newline="") as file:
        rows = [cells(row) for row in csv.DictReader(file) if row["model"] == model]
    return "\n".join(f"| {' | '.join(line)} |" for line in (COLUMNS, ("---",) * len(COLUMNS), *rows))


def cells(row: Mapping[str, str]) -> tuple[str, ...]:
    """The texts of ``COLUMNS``."""
    after = f"{percent(row['after'])} [{percent(row['after_low'])}, {percent(row['after_high'])}]"
    return (
        *(row["experiment"], row["measured"].replace(": the described thing is named again", "")),
        *(row["setting"], row["n"], percent(row["before"])),
        f"**{after}**" if row["beyond"] == "True" else after,
        *(controls(row, kind) for kind in ("control", "own")),
        ", ".join(tested(row)),
    )


def controls(row: Mapping[str, str], kind: str) -> str:
    """The control that does most."""
    name, _, draw = row[f"{kind}_name"].rpartition(" ")
    return f"{percent(row[kind])} ({name if draw.isdecimal() else row[f'{kind}_name']})" if row[kind] else "none"


def tested(row: Mapping[str, str]) -> Iterator[str]:
    """p against no edit, against controls at the same setting and at their own best one."""
    for name in ("p", "control_p", "own_p"):
        yield format_p(float(row[name])) if row[name] else "–"  # noqa: RUF001


def percent(text: str) -> str:
    """A share in %, without the sign that the column has."""
    return share(float(text)).removesuffix("%")


if __name__ == "__main__":
    print(table(sys.argv[1]))
