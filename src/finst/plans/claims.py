"""The paper's claims, and what finished runs say about each: holds, fails, undecided, or not testable."""

# ruff: noqa: RUF001  (typeset text: apostrophes as readers expect them)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import xarray as xr

from finst.analysis.proportions import fewest_gains, fisher
from finst.experiments.api import Run
from finst.experiments.cma.verdict import verdict_of
from finst.experiments.interventions.effect_rows import EffectRow
from finst.experiments.representations.report.peaks import peak_of, trials_in
from finst.report.status import Status
from finst.report.wording import counted, probability

Outcome = Literal["holds", "fails", "undecided", "not testable", "not run"]

OUTCOMES: Mapping[Status, Outcome] = {
    "found": "holds",
    "not found": "fails",
    "undecided": "undecided",
    "not testable": "not testable",
}

IGNORABLE_SHARE = 0.1
"""Gains of up to this share of trials would not matter: an intervention "fails" where larger ones are excluded."""

ABLATED_SHARE = 0.1
"""Of all heads, ablated in Fig 46: 250 of 2,560."""

RULE = (
    "An intervention holds if its effect is beyond no edit and beyond every control, at the same setting and at the "
    "control’s own best one; it fails if the intervals exclude a gain of more than "
    f"{IGNORABLE_SHARE:.0%} of the trials, or if a control does significantly more; otherwise it is undecided. "
    f"Counting is judged with {ABLATED_SHARE:.0%} of all heads ablated, as in the paper, or with the most of sizes of "
    "one’s own. "
    "It is not testable if so few trials could change that no p could be significant. "
    "Everything else holds if it is significant with an interval above zero, and fails if the interval excludes "
    "whatever would matter; a large p by itself decides nothing."
)


@dataclass(frozen=True)
class Judged:
    """What one run says about one claim."""

    outcome: Outcome
    numbers: str
    """With n, intervals and what each p is against, a line for each place; or why there are none."""


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, in our words."""

    key: str
    """Stable name, for machines."""
    text: str
    figure: str
    """Of the paper."""
    experiment: str
    """On whose first finished step it is judged."""
    judge: Callable[[Run], Judged]


def judged(claim: Claim, run: Run | None) -> Judged:
    """The verdict by ``run``; None where no step of the experiment is finished."""
    return Judged("not run", "no finished run") if run is None else claim.judge(run)


def _stage(index: int, run: Run) -> Judged:
    stage = verdict_of(run.summary).stages[index]
    return Judged(OUTCOMES[stage.status], f"{stage.detail} {stage.strongest}".strip())


def _order(index: int, run: Run) -> Judged:
    step = verdict_of(run.summary).steps[index]
    return Judged(OUTCOMES[step.status], " ".join(filter(None, (step.detail, step.small))))


def _similar(role: str, comparison: str, run: Run) -> Judged:
    """Whether activations of a token are as similar as ``comparison`` has it, in any layer."""
    n = trials_in(run.summary)
    peak = peak_of(run.summary.sel(role=role, comparison=comparison), n)
    return Judged(OUTCOMES[peak.evidence.status], f"{peak.verdict}, n = {counted(n, 'trial')}")


def _effect(number: int, run: Run, *, harms: bool = False) -> Judged:
    """One effect of an intervention, by its place among all that its experiment reports."""
    row = effects_of(run)[number]
    numbers = (
        f"{row.before.text} before, {row.after.text} after ({row.setting}), n = {counted(row.n, 'trial')}, "
        f"{probability(row.p, 'no edit')}; {row.controls_text}"
    )
    return Judged(outcome_of(row, alpha=float(run.summary.attrs["alpha"]), harms=harms), numbers)


def _ablated(run: Run) -> Judged:
    attrs = run.summary.attrs
    return _effect(ablated_size(len(effects_of(run)), attrs["ks"], attrs["shares"]), run, harms=True)


def ablated_size(sizes: int, ks: Sequence[int], shares: Sequence[float]) -> int:
    """Place among the ``sizes`` of ``counting`` of the one that it is judged on, by ``RULE``.

    ``ks`` and ``shares`` are the run's settings. Of shares, small ones may coincide, so places count from the end.
    """
    larger = 0 if ks else sum(share > ABLATED_SHARE for share in shares)
    return max(0, sizes - 1 - larger)


def effects_of(run: Run) -> Sequence[EffectRow]:
    """All effects of a run of an intervention, in the order of its report."""
    return run.experiment.report.effects(run.summary)  # pyright: ignore[reportAttributeAccessIssue]


def _everywhere(part: str, run: Run) -> Judged:
    """All effects whose name has ``part``, such as a stage in both rows of drawings: holds only if all hold."""
    numbers = [number for number, row in enumerate(effects_of(run)) if part in row.measured]
    each = [_effect(number, run) for number in numbers]
    outcomes = [one.outcome for one in each]
    weakest: Outcome = next(
        outcome for outcome in ("fails", "not testable", "undecided", "holds") if outcome in outcomes
    )
    texts = (f"{effects_of(run)[number].measured}: {one.numbers}" for number, one in zip(numbers, each, strict=True))
    return Judged(weakest, "\n".join(texts) if len(each) > 1 else each[0].numbers)


def outcome_of(row: EffectRow, *, alpha: float, harms: bool = False) -> Outcome:
    """What one effect says, by ``RULE``.

    Where few trials could change (few there are, or nearly all are right before a gain or wrong before a loss) no
    exact paired p can be below ``alpha``: then nothing could be tested.
    """
    if row.beyond:
        return "holds"
    room = round(row.n * (row.before.value if harms else 1 - row.before.value))
    if room < fewest_gains(alpha):
        return "not testable"
    most = row.before.high - row.after.low if harms else row.after.high - row.before.low
    leads = [each.lead for each in (row.control, row.own) if each is not None and each.lead is not None]
    behind = any(lead.low > 0 if harms else lead.high < 0 for lead in leads)
    return "fails" if most <= IGNORABLE_SHARE or behind else "undecided"


def _frames(run: Run) -> Judged:
    """Position relative to the arrangement, given the absolute one; and the reverse beside it."""
    relative, absolute = (_similar("last", name, run) for name in ("relative | absolute", "absolute | relative"))
    return Judged(relative.outcome, f"relative given absolute: {relative.numbers}; the reverse: {absolute.numbers}")


def _entropy(run: Run) -> Judged:
    """Whether answers are less often right with low entropy."""
    low, high = (run.summary.sel(condition=name) for name in ("low", "high"))
    n = trials_in(run.summary)
    few, many = (round(float(part["accuracy"]) * n) for part in (low, high))
    p, alpha = fisher(few, many, n, n), float(run.summary.attrs["alpha"])
    outcome: Outcome = "undecided" if not p < alpha else "holds" if few < many else "fails"
    shares = [_share(part) for part in (low, high)]
    numbers = f"{shares[0]} right with low entropy, {shares[1]} with high, n = {counted(n, 'trial')} each"
    return Judged(outcome, f"{numbers}, {probability(p, 'equal shares')}")


def _share(part: xr.Dataset) -> str:
    middle, low, high = (float(part[name]) for name in ("accuracy", "accuracy_low", "accuracy_high"))
    return f"{middle:.1%} [{low:.1%}, {high:.1%}]"


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "position-at-described-words",
        "Tokens that describe an object come to hold its position",
        "Fig 1c",
        "rsa-stages",
        partial(_similar, "commas", "position"),
    ),
    Claim(
        "position-at-last-token",
        "The last token comes to hold the position of the object to be named",
        "Fig 1c",
        "rsa-stages",
        partial(_similar, "last", "position"),
    ),
    Claim(
        "features-at-last-token",
        "The last token comes to hold that object’s features",
        "Fig 1c",
        "rsa-stages",
        partial(_similar, "last", "features"),
    ),
    Claim("id-retrieval-heads", "Heads retrieve the ID of a described object", "Fig 1d", "cma", partial(_stage, 0)),
    Claim(
        "id-selection-heads", "Heads select the ID of the object to be named", "Fig 1d", "cma", partial(_stage, 1)
    ),
    Claim("feature-retrieval-heads", "Heads retrieve the features at that ID", "Fig 1d", "cma", partial(_stage, 2)),
    Claim(
        "retrieval-before-selection", "ID retrieval comes before ID selection", "Fig 1d", "cma", partial(_order, 0)
    ),
    Claim(
        "selection-before-features",
        "ID selection comes before feature retrieval",
        "Fig 1d",
        "cma",
        partial(_order, 1),
    ),
    Claim(
        "relative-coding",
        "Place in the arrangement is coded beyond what place in the picture explains",
        "Fig 2",
        "rsa-frame",
        _frames,
    ),
    Claim(
        "steering-id-retrieval",
        "Adding the other side’s ID at described words changes which object is named",
        "Fig 3b",
        "photoreal",
        partial(_everywhere, "ID retrieval"),
    ),
    Claim(
        "steering-id-selection",
        "Adding the other side’s ID at the last token changes which object is named",
        "Fig 3b",
        "photoreal",
        partial(_everywhere, "ID selection"),
    ),
    Claim(
        "steering-feature-retrieval",
        "Moving queries to the other side changes which object is named",
        "Fig 3b",
        "photoreal",
        partial(_everywhere, "feature retrieval"),
    ),
    Claim(
        "key-swap", "Exchanging objects’ keys exchanges the colours that are answered", "Fig 4", "key-swap",
        partial(_effect, 0),
    ),
    Claim("reuse", "IDs of descriptions help to answer spatial questions", "Fig 5", "reuse", partial(_effect, 0)),
    Claim("low-entropy-is-harder", "Objects that share features are answered worse", "Fig 7", "rsa-entropy", _entropy),
    Claim(
        "relative-patching",
        "Patched selection heads name the object at the same relative place",
        "Figs 8, 29",
        "frame-patch",
        partial(_effect, 0),
    ),
    Claim("rescue", "IDs from easy scenes rescue hard ones", "Table 1", "rescue", partial(_effect, 0)),
    Claim(
        "naming-again", "Earlier outputs of selection heads name the first thing again", "Fig 45", "coco",
        partial(_effect, 0),
    ),
    Claim(
        "counting-needs-heads",
        "Without the strongest heads pictures are counted wrongly",
        "Fig 46",
        "counting",
        _ablated,
    ),
)  # fmt: skip
"""In the order of the paper's figures."""
