"""The page of all heads of a reproduction names the interventions that edit each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finst.cli.reproduce import write_pages
from finst.experiments.api import load
from finst.plans.heads import reproduction_heads
from finst.plans.record import Reproduction, Status, StepRecord, key_of
from finst.runs.finished import manifest_of
from tests.runs.old_runs import unpacked

WEIGHTS = "0" * 64


def record_of(folder: Path, heads: Mapping[str, str], **statuses: Status) -> Reproduction:
    """A record of finished steps, except those in ``statuses``; ``heads`` names the step whose heads a step edits."""
    keys = {"": ""}
    for name, mediation in heads.items():
        manifest = manifest_of(folder / name)
        keys[name] = key_of(manifest.experiment, manifest.spec, WEIGHTS, keys[mediation])
    steps = (
        StepRecord(name, manifest_of(folder / name).experiment, statuses.get(name, "finished"), key=keys[name])
        for name in heads
    )
    return Reproduction(1, "", "planted", WEIGHTS, tuple(steps))


HEADS = {"cma": "", "photoreal": "cma", "key-swap": "cma", "accuracy": "", "second": "", "reuse": "second"}


def facts(html: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="facts">(.*?)</script>', html)
    assert match is not None
    return json.loads(match[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in HEADS.keys() - {"second"}:
        unpacked(name, tmp_path)
    second = unpacked("cma", tmp_path / "other").rename(tmp_path / "second")
    manifest = manifest_of(second)
    replace(manifest, spec={**manifest.spec, "seed": 1}).write(second / "manifest.json")
    return tmp_path


def test_interventions_with_the_heads_of_the_first_mediation_are_listed(folder: Path) -> None:
    html = reproduction_heads(folder, record_of(folder, HEADS, second="failed"))
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
    statuses: dict[str, Status] = {"second": "failed", "photoreal": "failed", "key-swap": "waiting"}
    assert facts(reproduction_heads(folder, record_of(folder, HEADS, **statuses)))["interventions"] == []
    nothing: dict[str, Status] = {"cma": "failed", **statuses}
    assert reproduction_heads(folder, record_of(folder, HEADS, **nothing)) == ""


def test_pages_of_a_reproduction_link_to_it(folder: Path) -> None:
    out = folder / "reproduction"
    out.mkdir()
    unpacked("cma", out)
    write_pages(out, record_of(out, {"cma": ""}))
    assert '<a href="heads.html">' in (out / "index.html").read_text()
    assert facts((out / "heads.html").read_text())["pairs"] == 4
    write_pages(out, record_of(out, {"cma": ""}, cma="failed"))
    assert '<a href="heads.html">' not in (out / "index.html").read_text()
