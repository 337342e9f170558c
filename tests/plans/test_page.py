"""The page of a reproduction: verdicts beside other sources' values, figures, trials, settings and machine."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from finst.experiments.api import load
from finst.plans import page as module
from finst.plans.claims import CLAIMS
from finst.plans.departures import UNCOMPARED, departures
from finst.plans.page import reproduction_page
from finst.plans.plan import shipped_plan
from finst.plans.record import FORMAT, Reproduction, StepRecord
from finst.report.page import published
from finst.vlm.checkpoint.hub import UnavailableError
from tests.runs.old_runs import unpacked

EXPERIMENTS = ("counting", "cma", "rsa-stages")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stored runs as the finished steps of a reproduction; a fourth step failed."""
    out = tmp_path_factory.mktemp("reproduction")
    for name in EXPERIMENTS:
        unpacked(name, out)
    return out


def record() -> Reproduction:
    steps = [StepRecord(name, name, "finished", seconds=30.0) for name in EXPERIMENTS]
    return Reproduction(
        FORMAT, "three of them", "a model", "0" * 64, (*steps, StepRecord("coco", "coco", "failed", "x"))
    )


def sections(page: str) -> dict[str, str]:
    return {part.split("</h2>")[0]: part for part in page.split("<h2>")[1:]}


def test_every_claim_has_the_values_of_the_paper_and_of_the_public_reproduction() -> None:
    values = published()["claims"]
    assert list(values) == [claim.key for claim in CLAIMS]
    assert all(set(value) == {"paper", "reproduction"} and all(value.values()) for value in values.values())


def test_the_page_has_the_figures_in_the_papers_order_and_a_trial_of_each_experiment(stored: Path) -> None:
    parts = sections(reproduction_page(stored, record()))
    expected = ["rsa-stages", "cma", "counting"]
    assert re.findall(r'<figure id="figure-([^"]*)"', parts["Figures"]) == expected
    assert re.findall(r"<h3>([^<]*)</h3>", parts["One trial of each experiment"]) == expected
    assert "Describe the image.\nIn this image there is a" in parts["One trial of each experiment"]
    assert "together took 1.5 minutes" in parts["Experiments"]
    for claim in CLAIMS:
        assert published()["claims"][claim.key]["paper"].replace("'", "&#39;") in parts["Claims"]
    manifest = load(stored / "cma").manifest
    assert manifest.sessions[0].versions["torch"] in parts["Provenance"]


def test_without_the_models_tokenizer_the_page_says_why_no_trial_is_shown(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: object, **__: object) -> None:
        raise UnavailableError("no such model here")

    monkeypatch.setattr(module, "open_reader", unavailable)
    counting = replace(record(), steps=record().steps[:1])
    part = sections(reproduction_page(stored, counting))["One trial of each experiment"]
    assert "no such model here" in part
    assert "<svg" not in part


def test_settings_that_differ_from_the_full_plan_are_listed_and_no_others(stored: Path) -> None:
    full = shipped_plan("full")
    specs = {name: load(stored / name).spec for name in EXPERIMENTS}
    found = departures(record(), specs, full)
    changed = replace(specs["cma"], pairs=50 + specs["cma"].pairs)
    assert ("cma", "pairs", str(changed.pairs), "50") in [
        (each.step, each.setting, each.here, each.full) for each in departures(record(), {"cma": changed}, full)
    ]
    for each in found:
        step = next(step for step in full.steps if step.experiment == each.step)
        assert getattr(specs[each.step], each.setting) != getattr(step.spec(type(specs[each.step])()), each.setting)
        assert each.setting not in UNCOMPARED
    same = {step.name: step.spec(type(specs["cma"])()) for step in full.steps if step.experiment == "cma"}
    assert departures(record(), same, full) == []
