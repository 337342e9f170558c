"""The page of all heads of a reproduction names the interventions that edit each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from finst.experiments.api import load
from finst.plans.heads import reproduction_heads
from finst.plans.page import reproduction_page
from finst.plans.plan import Plan, parse_plan
from finst.plans.record import Reproduction, Status, StepRecord
from tests.runs.old_runs import unpacked

PLAN = """
[[step]]
experiment = "cma"
[[step]]
experiment = "photoreal"
[[step]]
experiment = "key-swap"
[[step]]
name = "second"
experiment = "cma"
[[step]]
experiment = "reuse"
"""


def record_of(plan: Plan, **statuses: Status) -> Reproduction:
    """A record in which every step is finished, except those in ``statuses``."""
    steps = (StepRecord(step.name, step.experiment, statuses.get(step.name, "finished")) for step in plan.steps)
    return Reproduction(1, "", "planted", "0" * 64, tuple(steps))


def facts(html: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="facts">(.*?)</script>', html)
    assert match is not None
    return json.loads(match[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cma", "photoreal", "key-swap", "reuse"):
        unpacked(name, tmp_path)
    return tmp_path


def test_interventions_with_the_heads_of_the_first_mediation_are_listed(folder: Path) -> None:
    plan = parse_plan(PLAN, "plan")
    html = reproduction_heads(folder, plan, record_of(plan, second="failed"))
    data, heads = facts(html), load(folder / "cma").summary.sizes["head"]
    assert [(each["name"], each["link"]) for each in data["interventions"]] == [
        ("photoreal", "photoreal/report.html"),
        ("key-swap", "key-swap/report.html"),
    ]
    sets = [(one["stage"], one["heads"]) for each in data["interventions"] for one in each["sets"]]
    assert sets == [
        ("ID retrieval", [2 * heads + 5]),
        ("ID selection", [3 * heads + 1]),
        ("feature retrieval", [4 * heads + 6]),
        ("feature retrieval", [4 * heads + 6]),
    ]
    assert 'href="cma/report.html"' in html


def test_unfinished_steps_are_left_out(folder: Path) -> None:
    plan = parse_plan(PLAN, "plan")
    statuses: dict[str, Status] = {"second": "failed", "photoreal": "failed", "key-swap": "waiting"}
    assert facts(reproduction_heads(folder, plan, record_of(plan, **statuses)))["interventions"] == []
    nothing: dict[str, Status] = {"cma": "failed", **statuses}
    assert reproduction_heads(folder, plan, record_of(plan, **nothing)) == ""


def test_the_page_of_claims_links_to_it(folder: Path) -> None:
    record = record_of(parse_plan('[[step]]\nexperiment = "cma"\n', "plan"))
    assert '<a href="heads.html">' in reproduction_page(folder, record, heads="heads.html")
    assert "heads.html" not in reproduction_page(folder, record)
