"""The page of a reproduction: the verdict on each claim of the paper, and every experiment with a link to its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finst.errors import FinstError
from finst.experiments.api import Run, load
from finst.plans.claims import CLAIMS, RULE, Claim, Outcome, judged
from finst.plans.departures import departures
from finst.plans.plan import shipped_plan
from finst.plans.record import Reproduction, StepRecord
from finst.report.example import TokenView
from finst.report.page import figure_entry, published, render, view_entry
from finst.report.wording import counted, listed
from finst.vlm.open import open_reader

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

    Shows one trial of every experiment where the model's tokenizer and image processor can be opened.
    Raises FinstError for a finished step whose run is damaged.
    """
    runs = finished_runs(folder, record)
    claims = [claim_entry(claim, record, runs) for claim in CLAIMS]
    shown = _shown(record, runs)
    trials, absent = _trials(runs, shown)
    return render(
        "reproduction.html.j2",
        "finst.plans",
        headline=headline([entry["outcome"] for entry in claims]),
        rule=RULE,
        record=record,
        claims=claims,
        figures=[_figure_of(name, runs[name]) for name in shown if runs[name].figures],
        trials=trials,
        without_trials=absent,
        steps=[_step_entry(step, runs) for step in record.steps],
        minutes=sum(step.seconds or 0.0 for step in record.steps) / 60,
        departures=departures(record, {name: run.spec for name, run in runs.items()}, shipped_plan("full")),
        machine=_machine(runs),
        interventions=interventions,
        heads=heads,
    )


def finished_runs(folder: Path, record: Reproduction) -> dict[str, Run]:
    """The finished steps' runs by name. Raises FinstError for one that is damaged."""
    return {step.name: load(folder / step.name) for step in record.steps if step.status == "finished"}


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


def claim_entry(claim: Claim, record: Reproduction, runs: Mapping[str, Run]) -> dict[str, Any]:
    """A claim with its verdict, numbers and link, as templates need it."""
    name = first_run(claim.experiment, record, runs)
    verdict = judged(claim, None if name is None else runs[name])
    return {
        "text": claim.text,
        "figure": claim.figure,
        "outcome": verdict.outcome,
        "style": STYLES[verdict.outcome],
        "numbers": verdict.numbers,
        "elsewhere": published()["claims"][claim.key],
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


def _shown(record: Reproduction, runs: Mapping[str, Run]) -> list[str]:
    """The first finished step of every experiment: first those of the claims, in the order of the paper's figures."""
    experiments = dict.fromkeys([*(claim.experiment for claim in CLAIMS), *(step.experiment for step in record.steps)])
    return [name for experiment in experiments if (name := first_run(experiment, record, runs)) is not None]


def _figure_of(name: str, run: Run) -> dict[str, Any]:
    """The main figure of a run, under its step's name."""
    return {**figure_entry(next(iter(run.figures.values()))), "name": name, "link": f"{name}/report.html"}


def _trials(runs: Mapping[str, Run], shown: list[str]) -> tuple[list[dict[str, Any]], str]:
    """One trial of every run that is shown, or none and the reason."""
    entries = []
    for name in shown:
        spec = runs[name].spec
        try:
            example = runs[name].experiment.example(spec, open_reader(spec.model, revision=spec.revision))
        except FinstError as reason:
            return [], str(reason)
        text = prompt_text(example.tokens)
        entries.append({"name": name, "picture": view_entry(example.view, example.grid), "text": text})
    return entries, ""


def prompt_text(tokens: Sequence[TokenView]) -> str:
    """The words of a prompt, a line for each turn: without the image and without the conversation's own tokens."""
    text = "".join("\n" if token.kind in ("image", "template") else token.text for token in tokens)
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def _machine(runs: Mapping[str, Run]) -> list[tuple[str, str]]:
    """What the runs were made on and with, every value once."""
    found: dict[str, dict[str, None]] = {}
    for manifest in (run.manifest for run in runs.values()):
        model = {"device": manifest.model.device, "number format": manifest.model.dtype}
        for session in manifest.sessions:
            for name, value in {**model, **session.machine, "finst": session.finst, **session.versions}.items():
                found.setdefault(name, {})[value] = None
    return [(name, ", ".join(values)) for name, values in found.items()]
