"""The verdicts of causal mediation in words, for the report and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.experiments.cma.head_maps import above_map, mean_map, stages_of
from finst.experiments.cma.top_heads import (
    FLIPS,
    TopHead,
    largest_head,
    margin_of,
    strongest_head,
    top_heads,
)
from finst.report.findings import Findings
from finst.report.status import CLASSES, Evidence, Status, sign_flip_limit
from finst.report.wording import (
    NAMES,
    capital,
    counted,
    format_p,
    interval,
    level_of,
    listed,
    number,
    p_heading,
    probability,
    sampled,
    span,
)

IGNORABLE = 0.01
"""Effects up to this share of the clean margin would not make a stage: they are what "not found" excludes."""

SMALL = 0.5
"""Heads above the noise are small beside the head with the largest mean when theirs is less than this share of it."""

ORDER_WORDS: dict[Status, str] = {"found": "holds", "not found": "does not hold"}
"""What a status is called where one stage should come before another; other words stay."""


@dataclass(frozen=True)
class StageVerdict:
    """Whether a stage was found: at least one head above the noise."""

    key: str
    name: str
    status: Status
    above: int
    below: int
    heads: int
    layers: tuple[int, ...]
    """The layers that have heads above the noise."""
    n: int
    detail: str
    """The number of heads and their layers, or why there are none."""
    strongest: str
    """The strongest head above the noise, or the one with the largest mean if there is none."""
    largest: str
    """The head with the largest mean, where it is not the strongest one above the noise; else empty."""
    small: str
    """How far the heads above the noise are below that head, where they are small beside it; else empty."""
    depth: str
    """Centre of mass and median layer of the heads above the noise; empty if there are none."""

    @property
    def found(self) -> bool:
        """Whether the stage was found."""
        return self.status == "found"

    @property
    def style(self) -> str:
        """The class of the status on a page."""
        return CLASSES[self.status]

    @property
    def sentence(self) -> str:
        """The verdict and its numbers."""
        status = "" if self.detail.lower().startswith(self.status) else f"{self.status}. "
        first = f"{capital(self.name)}: {status}{self.detail}"
        return " ".join(filter(None, (first, self.strongest, self.largest)))


@dataclass(frozen=True)
class OrderVerdict:
    """Whether one stage comes before the next."""

    claim: str
    status: Status
    detail: str
    """The numbers, or why there are none."""
    small: str = ""
    """That it rests on heads that are small beside others; else empty."""

    @property
    def holds(self) -> bool | None:
        """None when this could not be tested or decided."""
        return {"found": True, "not found": False}.get(self.status)

    @property
    def outcome(self) -> str:
        """The status in words."""
        return ORDER_WORDS.get(self.status, self.status)

    @property
    def style(self) -> str:
        """The class of the status on a page."""
        return CLASSES[self.status]

    @property
    def sentence(self) -> str:
        """The verdict and its numbers."""
        return " ".join(filter(None, (f"{capital(self.claim)}: {self.outcome}.", self.detail, self.small)))


@dataclass(frozen=True)
class Verdict:
    """The report's headline and the sentences below it."""

    claim: str
    """Which stages were found, and whether they are in order."""
    evidence: str
    """The numbers behind it."""
    stages: tuple[StageVerdict, ...]
    steps: tuple[OrderVerdict, ...]

    @property
    def headline(self) -> str:
        """The claim and its evidence."""
        return f"{self.claim} {self.evidence}"


def verdict_of(summary: xr.Dataset) -> Verdict:
    """The verdicts on all stages and on their order."""
    stages = tuple(_stage(summary, stage) for stage in stages_of(summary))
    small = {stage.key: stage.small for stage in stages}
    steps = tuple(_order(summary, summary.isel(step=i), small) for i in range(summary.sizes["step"]))
    return Verdict(f"{_found(stages)} {_ordered(steps)}", _evidence(summary, stages, steps), stages, steps)


def _by_status(verdicts: Sequence[StageVerdict] | Sequence[OrderVerdict], status: Status) -> list[str]:
    return [v.name if isinstance(v, StageVerdict) else v.claim for v in verdicts if v.status == status]


def _found(stages: Sequence[StageVerdict]) -> str:
    found, missing, undecided, untested = (_by_status(stages, status) for status in CLASSES)
    if len(found) == len(stages):
        return "All three stages have heads above the noise."
    if len(missing) == len(stages):
        return "None of the three stages has a head above the noise."
    if len(untested) == len(stages):
        return "None of the three stages could be tested."
    if len(undecided) == len(stages):
        return "None of the three stages has a head above the noise, and none is decided: the intervals are too wide."
    parts = [f"{listed(found)} {_verb(found, 'has', 'have')} heads above the noise"] if found else []
    parts += [f"{listed(missing)} {_verb(missing, 'has', 'have')} none"] if missing else []
    parts += [f"{listed(undecided)} {_verb(undecided, 'is', 'are')} undecided"] if undecided else []
    parts += [f"{listed(untested)} could not be tested"] if untested else []
    return f"{capital('; '.join(parts))}."


def _verb(names: Sequence[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many


def _ordered(steps: Sequence[OrderVerdict]) -> str:
    holds, wrong, undecided, untested = (_by_status(steps, status) for status in CLASSES)
    small = " Part of this rests on heads that are small beside others." if any(s.small for s in steps) else ""
    if len(holds) == len(steps):
        return f"Their order in depth is that of the paper.{small}"
    if len(untested) == len(steps):
        return "Their order could not be tested."
    parts = [f"{listed(holds)} holds"] if holds else []
    parts += [f"{listed(wrong)} does not hold"] if wrong else []
    parts += [f"{listed(undecided)} is undecided"] if undecided else []
    parts += [f"{listed(untested)} could not be tested"] if untested else []
    return f"Of their order in the paper, {'; '.join(parts)}.{small}"


def _evidence(summary: xr.Dataset, stages: Sequence[StageVerdict], steps: Sequence[OrderVerdict]) -> str:
    """n, effects, intervals and p of what the headline claims."""
    parts = []
    for stage in stages:
        head = strongest_head(summary, stage.key)
        below = "" if head is None or head.above else ", not above the noise"
        numbers = "not measured" if head is None else f"{head.text}{below}"
        parts.append(f"{stage.name} {numbers}, {sampled(stage.n, 'pair')}")
    orders = [f"{step.claim}: {step.detail}" for step in steps if step.status != "not testable"]
    return " ".join([f"Strongest heads: {'; '.join(parts)}.", *orders])


def _stage(summary: xr.Dataset, key: str) -> StageVerdict:
    part = summary.sel(condition=key)
    above = above_map(summary, key)
    layers = tuple(int(layer) for layer in summary["layer"].values[above.any(axis=1)])
    strongest, largest = strongest_head(summary, key), largest_head(summary, key)
    evidence = _stage_evidence(part, above, mean_map(summary, key))
    return StageVerdict(
        key=key,
        name=NAMES.get(key, key),
        status=evidence.status,
        above=int(above.sum()),
        below=int(part["below"].sum()),
        heads=above.size,
        layers=layers,
        n=int(part["n"]),
        detail=_detail(part, layers, evidence),
        strongest=""
        if strongest is None
        else f"{'Strongest' if strongest.above else 'Largest mean'}: {strongest.text}.",
        largest=_larger(strongest, largest),
        small=_smaller(strongest, largest),
        depth=_depth(part),
    )


def _stage_evidence(part: xr.Dataset, above: np.ndarray, means: np.ndarray) -> Evidence:
    """That at least one head has a positive effect: the smallest p of such heads, and the highest ends of intervals."""
    positive = means > float(part["noise_floor"])
    p, low, high = (part[name].transpose("layer", "head").values for name in ("p_fwer", "ci_low", "ci_high"))
    n, attrs = int(part["n"]), part.attrs
    return Evidence(
        n=n,
        low=_largest(low[above if above.any() else positive]),
        high=_largest(high.ravel()),
        p=float(np.min(p[positive], initial=1.0)),
        least_p=sign_flip_limit(n, attrs["permutations"]),
        alpha=attrs["alpha"],
        ignorable=IGNORABLE * margin_of(part),
    )


def _largest(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else float("nan")


def _detail(part: xr.Dataset, layers: Sequence[int], evidence: Evidence) -> str:
    above, below = (int(part[name].sum()) for name in ("above", "below"))
    pairs = sampled(evidence.n, "pair")
    if not evidence.testable:
        return _untestable(evidence, "head can be above the noise")
    negative = f" Significantly negative: {counted(below, 'head')}." if below else ""
    if above:
        of = f"{above} of {counted(part['above'].size, 'head')} above the noise, in {span(layers)} ({pairs})."
        return of + negative
    none = f"None of {counted(part['above'].size, 'head')} is above the noise ({pairs})."
    return f"{none} {_excluded(evidence)}{negative}"


def _excluded(evidence: Evidence) -> str:
    """What a stage without heads above the noise may still have."""
    if np.isnan(evidence.ignorable) or evidence.ignorable <= 0:
        return "Without the clean margin it is not known which effects would matter."
    verb = "exclude" if evidence.status == "not found" else "do not exclude"
    return (
        f"The intervals of its heads {verb} effects beyond {100 * IGNORABLE:.0f} % of the clean margin "
        f"({number(evidence.ignorable)} logits; the highest ends at {number(evidence.high)})."
    )


def _untestable(evidence: Evidence, what: str) -> str:
    n, least = evidence.n, evidence.least_p
    if n < 2:
        alone = " One pair gives scores, but no standard error, interval, p value or reliability." if n else ""
        return f"Not testable: {counted(n, 'usable pair')}, but at least 2 are needed.{alone}"
    few = counted(n, "pair") if least == 2.0 ** (1 - n) else counted(round(1 / least) - 1, "permutation")
    return f"Not testable: with {few} no p can be below {least:.3f}, so no {what}."


def _strongest(head: TopHead | None) -> str:
    return "" if head is None else f"{'Strongest' if head.above else 'Largest mean'}: {head.text}."


def _larger(strongest: TopHead | None, largest: TopHead | None) -> str:
    if strongest is None or largest is None or strongest.name == largest.name:
        return ""
    return f"Largest mean: {largest.text}: not above the noise."


def _smaller(strongest: TopHead | None, largest: TopHead | None) -> str:
    if strongest is None or largest is None or not strongest.above or strongest.mean >= SMALL * largest.mean:
        return ""
    return (
        f"{strongest.name} with {number(strongest.mean)} logits, beside {largest.name} with {number(largest.mean)} "
        f"({probability(largest.p_fwer, FLIPS, 'family-wise p')})"
    )


def _depth(part: xr.Dataset) -> str:
    centre, low, high = (float(part[f"centre_{key}"]) for key in ("mean", "low", "high"))
    median, first, last = (float(part[f"median_{key}"]) for key in ("layer", "low", "high"))
    if np.isnan(median):
        return ""
    mass = f"Centre of mass at layer {number(centre, 2)} {interval(low, high, 2)}"
    return f"{mass}, median layer {median:.0f} [{first:.0f}, {last:.0f}]."


def _order(summary: xr.Dataset, step: xr.Dataset, small: dict[str, str]) -> OrderVerdict:
    """``small`` says of each stage whether its heads above the noise are small beside another."""
    earlier, later = (str(step[key].item()) for key in ("order_earlier", "order_later"))
    claim = f"{NAMES.get(earlier, earlier)} before {NAMES.get(later, later)}"
    reason = str(step["order_untestable"].item())
    if reason:
        for key, name in NAMES.items():
            reason = reason.replace(key, name)
        return OrderVerdict(claim, "not testable", f"{capital(reason)}.")
    difference, low, high, p = (float(step[f"order_{key}"]) for key in ("difference", "ci_low", "ci_high", "p"))
    n, attrs = int(step["order_n"]), summary.attrs
    evidence = Evidence(n, low, high, p, sign_flip_limit(n, attrs["permutations"]), attrs["alpha"])
    centre = f"The centre of {NAMES.get(later, later)} minus that of {NAMES.get(earlier, earlier)}"
    numbers = f"{centre}: {number(difference, 2)} {interval(low, high, 2)} layers"
    resting = [f"{NAMES.get(key, key)}: {small[key]}" for key in (earlier, later) if small.get(key)]
    return OrderVerdict(
        claim,
        evidence.status,
        f"{numbers}, {probability(p, FLIPS)}, {sampled(n, 'pair')}."
        if evidence.testable
        else f"{numbers}. {_untestable(evidence, 'order can be shown')}",
        f"This rests on heads that are small beside the largest mean. {'. '.join(resting)}." if resting else "",
    )


TERMINAL_TOP = 3
"""Number of heads of each stage in the findings' table."""


def mediation_findings(summary: xr.Dataset) -> Findings:
    """The verdicts on the stages and on their order, and a table of the strongest heads of each stage."""
    verdict = verdict_of(summary)
    level = f"{level_of(summary)} interval"
    sentences = [" ".join(filter(None, (stage.sentence, stage.depth))) for stage in verdict.stages]
    rows = [
        (
            stage.name,
            head.name,
            f"{number(head.mean)} ± {number(head.standard_error)}",
            interval(head.ci_low, head.ci_high),
            head.share,
            format_p(head.p_fwer),
            "yes" if head.above else "no",
        )
        for stage in verdict.stages
        for head in top_heads(summary, stage.key, TERMINAL_TOP)
    ]
    return Findings(
        title="causal mediation of every attention head",
        headline=verdict.headline,
        sentences=(*sentences, *(step.sentence for step in verdict.steps)),
        columns=(
            "stage",
            "strongest heads",
            "mean ± SE, logits",
            level,
            "of the clean margin",
            p_heading(FLIPS, "family-wise p"),
            "above the noise",
        ),
        rows=tuple(rows),
        method=(),
    )
