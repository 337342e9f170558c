"""The page of a reproduction: the verdict on each claim of the paper, and every experiment with a link to its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finst.experiments.api import Run, load
from finst.plans.claims import CLAIMS, RULE, Claim, Outcome, judged
from finst.plans.record import Reproduction, StepRecord
from finst.report.page import render
from finst.report.wording import counted, listed

PAGE = "index.html"
"""Name of the page in the folder of a reproduction."""

STYLES: Mapping[Outcome, str] = {
    "holds": "yes",
    "fails": "no",
    "undecided": "open",
    "not testable": "open",
    "not run": "soft",
}
"""The class of a verdict on the page."""


def reproduction_page(folder: Path, record: Reproduction, interventions: str = "", heads: str = "") -> str:
    """The page of the reproduction in ``folder``.

    ``interventions`` and ``heads`` are the names of the table of effects and of the page of all heads beside it.

    Raises FinstError for a finished step whose run is damaged.
    """
    runs = {step.name: load(folder / step.name) for step in record.steps if step.status == "finished"}
    claims = [_claim_entry(claim, record, runs) for claim in CLAIMS]
    return render(
        "reproduction.html.j2",
        "finst.plans",
        headline=headline([entry["outcome"] for entry in claims]),
        rule=RULE,
        record=record,
        claims=claims,
        steps=[_step_entry(step, runs) for step in record.steps],
        interventions=interventions,
        heads=heads,
    )


def headline(outcomes: list[Outcome]) -> str:
    """``12 of 19 claims hold, 2 fail, 4 are undecided and 1 is not testable.``"""
    counts = Counter(outcomes)
    texts = [
        f"{counts['holds']} of {counted(len(outcomes), 'claim')} {'holds' if counts['holds'] == 1 else 'hold'}",
        *(f"{counts[name]} {_verb(name, counts[name])}" for name in STYLES if name != "holds" and counts[name]),
    ]
    return f"{listed(texts)}."


def _verb(outcome: Outcome, count: int) -> str:
    if outcome == "fails":
        return "fails" if count == 1 else "fail"
    return f"{'is' if count == 1 else 'are'} {outcome}"


def first_run(experiment: str, record: Reproduction, runs: Mapping[str, Run]) -> str | None:
    """The name of the first finished step of an experiment."""
    return next((step.name for step in record.steps if step.experiment == experiment and step.name in runs), None)


def _claim_entry(claim: Claim, record: Reproduction, runs: Mapping[str, Run]) -> dict[str, Any]:
    name = first_run(claim.experiment, record, runs)
    verdict = judged(claim, None if name is None else runs[name])
    return {
        "text": claim.text,
        "figure": claim.figure,
        "outcome": verdict.outcome,
        "style": STYLES[verdict.outcome],
        "numbers": verdict.numbers,
        "link": "" if name is None else f"{name}/report.html",
    }


def _step_entry(step: StepRecord, runs: Mapping[str, Run]) -> dict[str, str]:
    finished = step.name in runs
    return {
        "name": step.name,
        "status": step.status,
        "time": "" if step.seconds is None else f"{step.seconds:.0f} s",
        "result": runs[step.name].findings.headline if finished else step.reason,
        "link": f"{step.name}/report.html" if finished else "",
    }
