"""Verdicts on the paper's claims, and the page that shows them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finst.analysis.paired import paired_interval
from finst.analysis.proportions import mcnemar, wilson
from finst.experiments.api import Run, load
from finst.experiments.interventions.counting.experiment import sizes as sizes_of_counting
from finst.experiments.interventions.counting.spec import CountingSpec
from finst.experiments.interventions.effect_rows import Controls, EffectRow, Share
from finst.plans.claims import CLAIMS, IGNORABLE_SHARE, ablated_size, judged, outcome_of
from finst.plans.page import headline, reproduction_page
from finst.plans.plan import SHIPPED, shipped_plan
from finst.plans.record import FORMAT, Reproduction, StepRecord
from finst.report.page import published
from tests.runs.old_runs import unpacked

EXPERIMENTS = tuple(dict.fromkeys(claim.experiment for claim in CLAIMS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of every experiment that a claim is judged on, each far too small to decide anything."""
    folder = tmp_path_factory.mktemp("claims")
    for name in EXPERIMENTS:
        unpacked(name, folder)
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Run]:
    return {name: load(folder / name) for name in EXPERIMENTS}


def record_of(*steps: StepRecord) -> Reproduction:
    return Reproduction(FORMAT, "a plan", "planted", "f" * 64, steps)


FINISHED = tuple(StepRecord(name, name, "finished", seconds=2.0) for name in EXPERIMENTS)


def test_keys_are_different_and_shipped_plans_have_a_step_for_every_claim() -> None:
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS)
    for name in SHIPPED:
        assert {step.experiment for step in shipped_plan(name).steps} >= set(EXPERIMENTS)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.key)
def test_runs_too_small_to_decide_anything_decide_nothing(claim, runs: dict[str, Run]) -> None:
    verdict = judged(claim, runs[claim.experiment])
    assert verdict.outcome in ("not testable", "undecided")
    assert verdict.numbers
    assert judged(claim, None).outcome == "not run"


def row_of(n: int, before: int, gained: int, lost: int, rival: int) -> EffectRow:
    """An effect on ``n`` trials, and a control that has ``rival`` hits among those with the most."""
    after = before + gained - lost
    first = [True] * before + [False] * (n - before)
    last = [False] * lost + [True] * (before - lost + gained) + [False] * (n - before - gained)
    p = mcnemar(np.array(first), np.array(last)).p
    lead = Share((after - rival) / n, *paired_interval(max(0, after - rival), max(0, rival - after), n))
    control = Controls(_share(rival, n), "random 0", "", lead, p)
    beyond = p <= 0.05 and gained > lost and lead.low > 0
    return EffectRow("", "K = 1", n, _share(before, n), _share(after, n), p, control, control, "", beyond)


def _share(hits: int, n: int) -> Share:
    return Share(hits / n, *wilson(hits, n))


@given(st.data())
def test_the_outcome_follows_the_rule(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 200))
    before = data.draw(st.integers(0, n))
    lost, gained = data.draw(st.integers(0, before)), data.draw(st.integers(0, n - before))
    row = row_of(n, before, gained, lost, data.draw(st.integers(0, n)))
    outcome = outcome_of(row, alpha=0.05)
    if outcome == "holds":
        assert row.beyond
    elif outcome == "not testable":
        assert n - before < 6
    elif outcome == "fails":
        assert row.control.lead is not None
        assert row.after.high - row.before.low <= IGNORABLE_SHARE or row.control.lead.high < 0
    else:
        assert row.after.high - row.before.low > IGNORABLE_SHARE


def test_the_outcome_of_plain_cases() -> None:
    assert outcome_of(row_of(48, 0, 48, 0, 0), alpha=0.05) == "holds"
    assert outcome_of(row_of(48, 0, 0, 0, 0), alpha=0.05) == "fails"  # an interval up to 7.4 %
    assert outcome_of(row_of(24, 0, 0, 0, 0), alpha=0.05) == "undecided"  # up to 13.8 %
    assert outcome_of(row_of(4, 0, 4, 0, 0), alpha=0.05) == "not testable"
    assert outcome_of(row_of(48, 0, 20, 0, 40), alpha=0.05) == "fails"  # a control does more
    assert outcome_of(row_of(80, 80, 0, 0, 80), alpha=0.05) == "not testable"  # nothing was wrong before
    assert outcome_of(row_of(48, 3, 0, 3, 0), alpha=0.05, harms=True) == "not testable"  # few could be lost
    harm = replace(row_of(48, 48, 0, 48, 48), beyond=True)
    assert outcome_of(harm, alpha=0.05, harms=True) == "holds"
    assert outcome_of(row_of(200, 200, 0, 0, 200), alpha=0.05, harms=True) == "fails"


@given(heads=st.integers(10, 3000), ks=st.lists(st.integers(1, 5), max_size=3, unique=True))
def test_counting_is_judged_with_the_papers_share_of_heads_or_the_most_of_ones_own(heads: int, ks: list[int]) -> None:
    sizes = sizes_of_counting(CountingSpec(ks=tuple(sorted(ks))), heads)
    place = ablated_size(len(sizes), ks, CountingSpec.shares)
    assert sizes[place] == (max(ks) if ks else max(1, round(heads / 10)))


def test_the_headline_counts_in_words() -> None:
    assert headline(["holds", "fails", "undecided", "not testable"]) == (
        "1 of 4 claims holds, 1 fails, 1 is undecided and 1 is not testable."
    )
    assert headline(["holds", "holds", "fails", "fails"]) == "2 of 4 claims hold and 2 fail."


def test_the_page_has_every_claim_and_step_and_asks_nothing_of_the_network(folder: Path) -> None:
    refused = StepRecord("pca", "pca", "cannot run", "the model has no object tokens")
    page = reproduction_page(folder, record_of(*FINISHED, refused), "interventions.html")
    for claim in CLAIMS:
        assert claim.text in page
        assert f'href="{claim.experiment}/report.html"' in page
    assert "the model has no object tokens" in page
    assert 'href="interventions.html"' in page
    assert not re.search(r"<script|<link|src=|url\((?!#)|@import", page)
    assert {link for link in re.findall(r'href="(http[^"]+)"', page)} == {
        published()["paper"]["url"],
        published()["reproduction"]["url"],
    }


def test_without_a_finished_step_nothing_is_claimed(folder: Path) -> None:
    waiting = record_of(StepRecord("cma", "cma"))
    page = reproduction_page(folder, waiting)
    assert page.count("not run</td>") == len(CLAIMS)
    assert f"0 of {len(CLAIMS)} claims hold and {len(CLAIMS)} are not run." in page
