"""What one finished run says about the keys of a score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import xarray as xr

from finst.analysis.mediation import STAGES
from finst.analysis.paired import paired_interval
from finst.analysis.ratios import ratio_of_means
from finst.experiments.api import Run
from finst.experiments.cma.side_by_side import last_layer
from finst.experiments.cma.summary import clean_margins
from finst.experiments.cma.top_heads import TopHead, strongest_head
from finst.experiments.cma.verdict import StageVerdict, verdict_of
from finst.experiments.interventions.effect_rows import Controls, EffectRow
from finst.experiments.interventions.photoreal.report import by_place
from finst.experiments.representations.report.peaks import peak_of, trials_in
from finst.plans.claims import OUTCOMES, effects_of, outcome_of
from finst.plans.scores.keys import LEVEL
from finst.report.comparison import Side
from finst.report.status import Status

PLACEMENT = "prefill"
"""Where the unfinished sentence stands in the answers that are counted, as in the other experiments."""

NOTHING_ABOVE = "no head is above the noise"


@dataclass(frozen=True)
class Reading:
    """One number of a run; NaN for what is not known."""

    value: float
    low: float
    high: float
    n: int
    p: float = float("nan")
    verdict: Status | None = None
    """Found: it is beyond what it is compared with. None where nothing is tested."""
    detail: str = ""
    """Which head, layer or setting."""


Readings = Iterator[tuple[str, Reading | str]]
"""Keys, each with its number or the reason why there is none."""


def readings(run: Run) -> Mapping[str, Reading | str]:
    """The keys that the run measured, each with its number or the reason why there is none.

    Raises KeyError for a summary by an older finst that lacks a variable.
    """
    return dict(READERS[run.experiment.name](run))


def wrong_level(run: Run) -> str:
    """Why the intervals of a run have another level than those of a score; empty where they have the same."""
    alpha = float(run.summary.attrs["alpha"])
    return "" if abs(1 - alpha - LEVEL) < 1e-9 else f"its intervals are at {1 - alpha:.3g}, not {LEVEL}"


def _accuracy(run: Run) -> Readings:
    summary, n = run.summary, int(run.summary.attrs["trials"])
    if PLACEMENT not in summary["placement"]:
        return
    for entropy, objects in product(summary["entropy"].values.tolist(), summary["objects"].values.tolist()):
        part = summary.sel(placement=PLACEMENT, entropy=entropy, objects=objects)
        share = _scaled(part, ("accuracy", "accuracy_low", "accuracy_high"))
        yield f"accuracy.{entropy}.{objects}", Reading(*share, n)


def _mediation(run: Run) -> Readings:
    verdict, last = verdict_of(run.summary), last_layer(Side("", run.summary, {}))
    for stage, found in zip(STAGES, verdict.stages, strict=True):
        key, head = f"stage.{stage.replace('_', '-')}", strongest_head(run.summary, stage)
        if head is not None:
            yield from _stage(key, run.summary.sel(condition=stage), head, found, last)
    steps = ("order.retrieval-before-selection", "order.selection-before-features")
    for index, (key, step) in enumerate(zip(steps, verdict.steps, strict=True)):
        part = run.summary.isel(step=index)
        difference = _scaled(part, ("order_difference", "order_ci_low", "order_ci_high"), last)
        p, n = float(part["order_p"]), int(part["order_n"])
        yield key, step.detail if np.isnan(p) else Reading(*difference, n, p, step.status)


def _stage(key: str, part: xr.Dataset, head: TopHead, found: StageVerdict, last: int) -> Readings:
    yield (
        f"{key}.strength",
        Reading(head.mean, head.ci_low, head.ci_high, head.n, head.p_fwer, found.status, head.name),
    )
    usable = part["usable"].values
    scores = part["score"].isel(layer=head.layer, head=head.head).values[usable].astype(np.float64)
    ratio = ratio_of_means(
        scores,
        clean_margins(part)[usable],
        confidence=LEVEL,
        resamples=int(part.attrs["bootstraps"]),
        seed=int(part.attrs["seed"]),
    )
    yield (
        f"{key}.strength-of-margin",
        "the clean margin is not above 0"
        if np.isnan(ratio.value)
        else Reading(ratio.value, ratio.low, ratio.high, head.n, detail=head.name),
    )
    reliability = _scaled(part, ("reliability", "reliability_low", "reliability_high"))
    yield (
        f"{key}.reliability",
        f"{head.n} usable pairs do not determine it" if np.isnan(reliability[0]) else Reading(*reliability, head.n),
    )
    depth = _scaled(part, ("median_layer", "median_low", "median_high"), last)
    median = f"layer {depth[0] * last:.0f}"
    yield f"{key}.depth", NOTHING_ABOVE if np.isnan(depth[0]) else Reading(*depth, head.n, detail=median)


def _scaled(part: xr.Dataset, names: tuple[str, str, str], whole: float = 1) -> tuple[float, float, float]:
    value, low, high = (float(part[name]) / whole for name in names)
    return value, low, high


def _similarity(places: Mapping[str, tuple[str, str]], run: Run) -> Readings:
    """``places`` has the role and the comparison of each key."""
    n = trials_in(run.summary)
    for key, (role, comparison) in places.items():
        if "head" in run.summary.dims:
            yield f"similarity.{key}", "measured head by head (tensor z)"
            continue
        peak = peak_of(run.summary.sel(role=role, comparison=comparison), n)
        yield (
            f"similarity.{key}",
            "r is not defined in any layer"
            if np.isnan(peak.r)
            else Reading(peak.r, peak.low, peak.high, n, peak.p, peak.evidence.status, f"layer {peak.layer}"),
        )


def _steering(run: Run) -> Readings:
    rows = [name for name, _ in by_place(run.summary)]
    stages = run.summary["stage"].values.tolist()
    for (row, stage), effect in zip(product(rows, stages), effects_of(run), strict=True):
        yield from _effect(f"steering.{stage.replace('_', '-')}.{row.replace(' ', '-')}", effect)


def _key_swap(run: Run) -> Readings:
    (effect,) = effects_of(run)
    yield from _effect("key-swap", effect)


def _rescue(run: Run) -> Readings:
    grids = run.summary["grid"].values.tolist()
    for grid, effect in zip(grids, effects_of(run), strict=True):
        yield from _effect(f"rescue.{grid}", effect)
        at = run.summary.sel(grid=grid, set="top", score="answer")
        at = at.sel(k=int(at["chosen_k"]))
        gained, lost, n = (int(at[name]) for name in ("gained", "lost", "n"))
        ends = paired_interval(gained, lost, n, LEVEL)
        yield f"rescue.{grid}.gain", Reading((gained - lost) / n, *ends, n, effect.p, detail=effect.setting)


def _effect(key: str, row: EffectRow) -> Readings:
    before, after = row.before, row.after
    yield f"{key}.before", Reading(before.value, before.low, before.high, row.n)
    yield f"{key}.after", Reading(after.value, after.low, after.high, row.n, row.p, _verdict(row), row.setting)
    yield f"{key}.control", _control(row.control, row.n)
    yield f"{key}.own-control", row.without_own if row.own is None else _control(row.own, row.n)


def _verdict(row: EffectRow) -> Status:
    """As of a claim: found where the edit does more than no edit and every control."""
    outcome = outcome_of(row, alpha=1 - LEVEL)
    return next(status for status, name in OUTCOMES.items() if name == outcome)


def _control(controls: Controls, n: int) -> Reading:
    share, p = controls.share, float("nan") if controls.p is None else controls.p
    return Reading(
        share.value, share.low, share.high, n, p, detail=", ".join(filter(None, (controls.name, controls.setting)))
    )


READERS: Mapping[str, Callable[[Run], Readings]] = {
    "accuracy": _accuracy,
    "cma": _mediation,
    "rsa-stages": partial(
        _similarity,
        {
            "position-at-commas": ("commas", "position"),
            "position-at-last": ("last", "position"),
            "features-at-last": ("last", "features"),
        },
    ),
    "rsa-frame": partial(
        _similarity,
        {
            "relative-given-absolute": ("last", "relative | absolute"),
            "absolute-given-relative": ("last", "absolute | relative"),
        },
    ),
    "photoreal": _steering,
    "key-swap": _key_swap,
    "rescue": _rescue,
}
"""For each experiment, the keys that a run of it gives."""
