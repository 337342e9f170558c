"""The verdicts of causal mediation in words, for the report and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.experiments.cma.head_maps import above_map, mean_map, stages_of
from finst.report.findings import Findings
from finst.report.wording import NAMES, capital, format_p, level_of, listed, number, probability, span


@dataclass(frozen=True)
class TopHead:
    """The statistics of one head in a stage; scores in logits, layer and head counted from 0."""

    layer: int
    head: int
    mean: float
    standard_error: float
    ci_low: float
    ci_high: float
    p: float
    p_fwer: float
    n: int
    above: bool

    @property
    def name(self) -> str:
        """Such as ``L3H4``: head 4 of layer 3, both counted from 0."""
        return f"L{self.layer}H{self.head}"


@dataclass(frozen=True)
class StageVerdict:
    """Whether a stage was found: at least one head above the noise."""

    key: str
    name: str
    found: bool
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
    depth: str
    """Centre of mass and median layer of the heads above the noise; empty if there are none."""

    @property
    def sentence(self) -> str:
        """The verdict and its numbers."""
        return f"{capital(self.name)}: {'found' if self.found else 'not found'}. {self.detail}"


@dataclass(frozen=True)
class OrderVerdict:
    """Whether one stage comes before the next; ``holds`` is None when this could not be tested."""

    claim: str
    holds: bool | None
    detail: str

    @property
    def sentence(self) -> str:
        """The verdict and its numbers."""
        outcome = {True: "holds", False: "does not hold", None: "not testable"}[self.holds]
        return f"{capital(self.claim)}: {outcome}. {self.detail}"


@dataclass(frozen=True)
class Verdict:
    """The report's headline and the sentences below it."""

    headline: str
    stages: tuple[StageVerdict, ...]
    steps: tuple[OrderVerdict, ...]


def top_heads(summary: xr.Dataset, stage: str, count: int) -> tuple[TopHead, ...]:
    """The heads with the largest mean score of a stage, above the noise or not; ties by layer and head."""
    usable = int(summary["n"].sel(condition=stage)) >= 1
    return _top_heads(summary, stage, np.full(mean_map(summary, stage).shape, usable), count)


def strongest_head(summary: xr.Dataset, stage: str) -> TopHead | None:
    """The head with the largest mean among those above the noise, else among all; None without usable pairs."""
    above = _top_heads(summary, stage, above_map(summary, stage), 1)
    return next(iter(above or top_heads(summary, stage, 1)), None)


def _top_heads(summary: xr.Dataset, stage: str, among: np.ndarray, count: int) -> tuple[TopHead, ...]:
    part = summary.sel(condition=stage)
    means = np.where(among, mean_map(summary, stage), -np.inf)
    places = np.argsort(-means, axis=None, kind="stable")[: min(count, np.count_nonzero(among))]
    return tuple(_head(part, *divmod(int(place), means.shape[1])) for place in places)


def _head(part: xr.Dataset, layer: int, head: int) -> TopHead:
    at = part.isel(layer=layer, head=head)
    values = {key: float(at[key]) for key in ("mean", "standard_error", "ci_low", "ci_high", "p", "p_fwer")}
    return TopHead(layer=int(at["layer"]), head=int(at["head"]), n=int(part["n"]), above=bool(at["above"]), **values)


def verdict_of(summary: xr.Dataset) -> Verdict:
    """The verdicts on all stages and on their order."""
    stages = tuple(_stage(summary, stage) for stage in stages_of(summary))
    steps = tuple(_order(summary.isel(step=i)) for i in range(summary.sizes["step"]))
    return Verdict(f"{_found(stages)} {_ordered(steps)}", stages, steps)


def _found(stages: Sequence[StageVerdict]) -> str:
    found = [stage.name for stage in stages if stage.found]
    missing = [stage.name for stage in stages if not stage.found]
    if not missing:
        return "All three stages have heads above the noise."
    if not found:
        return "None of the three stages has a head above the noise."
    verbs = ["have" if len(names) > 1 else "has" for names in (found, missing)]
    return f"{capital(listed(found))} {verbs[0]} heads above the noise; {listed(missing)} {verbs[1]} none."


def _ordered(steps: Sequence[OrderVerdict]) -> str:
    by_outcome = {outcome: [step.claim for step in steps if step.holds is outcome] for outcome in (True, False, None)}
    if len(by_outcome[True]) == len(steps):
        return "Their order in depth is that of the paper."
    if len(by_outcome[None]) == len(steps):
        return "Their order could not be tested."
    parts = [f"{listed(by_outcome[True])} holds"] if by_outcome[True] else []
    parts += [f"{listed(by_outcome[False])} does not hold"] if by_outcome[False] else []
    parts += [f"{listed(by_outcome[None])} could not be tested"] if by_outcome[None] else []
    return f"Of their order in the paper, {'; '.join(parts)}."


def _stage(summary: xr.Dataset, key: str) -> StageVerdict:
    part = summary.sel(condition=key)
    above = above_map(summary, key)
    layers = tuple(int(layer) for layer in summary["layer"].values[above.any(axis=1)])
    return StageVerdict(
        key=key,
        name=NAMES.get(key, key),
        found=bool(above.any()),
        above=int(above.sum()),
        below=int(part["below"].sum()),
        heads=above.size,
        layers=layers,
        n=int(part["n"]),
        detail=_detail(part, layers),
        strongest=_strongest(strongest_head(summary, key)),
        depth=_depth(part),
    )


def _detail(part: xr.Dataset, layers: Sequence[int]) -> str:
    n, above, below = (int(part[name].sum()) for name in ("n", "above", "below"))
    if n < 2:
        alone = " One pair gives scores, but no standard error, interval, p value or reliability." if n else ""
        return f"Not testable: {n} usable pair{'' if n == 1 else 's'}, but at least 2 are needed.{alone}"
    negative = f" Significantly negative: {below}." if below else ""
    if above:
        return f"{above} of {part['above'].size} heads above the noise, in {span(layers)} (n = {n} pairs).{negative}"
    least = 2.0 ** (1 - n)
    too_few = f" With {n} pairs no p can be below {least:.3f}, so no head can be above the noise." * (
        least >= part.attrs["alpha"]
    )
    return f"None of {part['above'].size} heads is above the noise (n = {n} pairs).{negative}{too_few}"


def _strongest(head: TopHead | None) -> str:
    if head is None:
        return ""
    interval = f"[{number(head.ci_low)}, {number(head.ci_high)}]"
    return (
        f"{'Strongest' if head.above else 'Largest mean'}: {head.name}, {number(head.mean)} ± "
        f"{number(head.standard_error)} logits {interval}, {probability(head.p_fwer, 'family-wise p')}."
    )


def _depth(part: xr.Dataset) -> str:
    centre, low, high = (float(part[f"centre_{key}"]) for key in ("mean", "low", "high"))
    median, first, last = (float(part[f"median_{key}"]) for key in ("layer", "low", "high"))
    if np.isnan(median):
        return ""
    mass = f"Centre of mass at layer {number(centre, 2)} [{number(low, 2)}, {number(high, 2)}]"
    return f"{mass}, median layer {median:.0f} [{first:.0f}, {last:.0f}]."


def _order(step: xr.Dataset) -> OrderVerdict:
    earlier, later = (str(step[key].item()) for key in ("order_earlier", "order_later"))
    claim = f"{NAMES.get(earlier, earlier)} before {NAMES.get(later, later)}"
    reason = str(step["order_untestable"].item())
    if reason:
        for key, name in NAMES.items():
            reason = reason.replace(key, name)
        return OrderVerdict(claim, None, f"{capital(reason)}.")
    difference, low, high, p = (float(step[f"order_{key}"]) for key in ("difference", "ci_low", "ci_high", "p"))
    n = int(step["order_n"])
    distance = f"{number(difference, 2)} [{number(low, 2)}, {number(high, 2)}]"
    centre = f"The centre of {NAMES.get(later, later)} minus that of {NAMES.get(earlier, earlier)}"
    return OrderVerdict(
        claim, bool(step["order_holds"]), f"{centre}: {distance} layers, {probability(p)}, n = {n} pairs."
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
            f"[{number(head.ci_low)}, {number(head.ci_high)}]",
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
        columns=("stage", "strongest heads", "mean ± SE, logits", level, "family-wise p", "above the noise"),
        rows=tuple(rows),
        method=(),
    )
