"""Several reproductions side by side: the verdict on each claim, a column a model."""

# ruff: noqa: RUF001  (typeset text: apostrophes as readers expect them)

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finst.plans.claims import CLAIMS, RULE
from finst.plans.page import PAGE, claim_entry, finished_runs, headline
from finst.plans.record import Reproduction
from finst.plans.subjects import labels
from finst.report.page import published, render
from finst.report.wording import listed


def side_by_side(folders: Sequence[Path], records: Sequence[Reproduction], page: Path) -> str:
    """One page of several reproductions, to be written to ``page``: its links are relative to that file.

    Raises FinstError for a finished step whose run is damaged.
    """
    columns = [_column(folder, record, page.absolute().parent) for folder, record in zip(folders, records, strict=True)]
    for column, label in zip(columns, labels([record.model for record in records], folders), strict=True):
        column["label"] = label
    values = published()["claims"]
    rows = [
        {
            "text": claim.text,
            "figure": claim.figure,
            "paper": values[claim.key]["paper"],
            "cells": [column["claims"][number] for column in columns],
        }
        for number, claim in enumerate(CLAIMS)
    ]
    title = f"The paper’s claims on {listed(column['label'] for column in columns)}"
    return render("models.html.j2", "finst.plans", title=title, rule=RULE, columns=columns, rows=rows)


def _column(folder: Path, record: Reproduction, base: Path) -> dict[str, Any]:
    runs = finished_runs(folder, record)
    beside = Path(os.path.relpath(folder.absolute(), base)).as_posix()
    claims = [claim_entry(claim, record, runs) for claim in CLAIMS]
    for claim in claims:
        claim["link"] = f"{beside}/{claim['link']}" if claim["link"] else ""
    return {
        "claims": claims,
        "headline": headline([claim["outcome"] for claim in claims]),
        "plan": record.title,
        "weights": record.weights,
        "link": f"{beside}/{PAGE}",
    }
