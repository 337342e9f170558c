"""What a summary of causal mediation says, in words: for the head of the report and for the terminal."""

# ruff: noqa: RUF001, RUF002  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

NAMES = {"id_retrieval": "ID retrieval", "id_selection": "ID selection", "feature_retrieval": "feature retrieval"}
"""The stages as the paper calls them."""


@dataclass(frozen=True)
class TopHead:
    """One head's statistics in a stage; scores in logits, layer and head counted from 0."""

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
    """Of the heads above the noise."""
    main_layers: tuple[int, ...]
    """Those that together hold nine tenths of these heads' mean scores."""
    n: int
    detail: str

    @property
    def sentence(self) -> str:
        """The verdict and its numbers."""
        return f"{capital(self.name)}: {'found' if self.found else 'not found'}. {self.detail}"


@dataclass(frozen=True)
class Step:
    """Whether one stage comes before the next; ``holds`` is None when that could not be tested."""

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
    steps: tuple[Step, ...]


def capital(text: str) -> str:
    """The text with its first letter in upper case and the others as they are."""
    return text[:1].upper() + text[1:]


def number(value: float) -> str:
    """Three significant digits, with a true minus sign; a dash for what is not known."""
    if np.isnan(value):
        return "–"
    if value and abs(value) < 5e-4:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa}·10{power}".replace("-", "−")
    return f"{value:.3f}".replace("-", "−")


def probability(p: float, name: str = "p") -> str:
    """``p = 0.012``, or ``p < 0.001``."""
    if np.isnan(p):
        return f"{name} not defined"
    return f"{name} < 0.001" if p < 0.001 else f"{name} = {p:.3f}"


def span(layers: Sequence[int]) -> str:
    """``layer 3``, ``layers 3–5``, ``layers 3–5 and 8``."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ("layer " if len(layers) == 1 else "layers ") + listed(f"{a}" if a == b else f"{a}–{b}" for a, b in runs)


def listed(items: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *head, tail = items
    return f"{', '.join(head)} and {tail}" if head else tail


def top_heads(summary: xr.Dataset, stage: str, count: int) -> tuple[TopHead, ...]:
    """The heads with the largest mean score of a stage, whether above the noise or not; ties by layer and head."""
    part = summary.sel(condition=stage)
    if int(part["n"]) < 2:
        return ()
    means = part["mean"].transpose("layer", "head").values
    places = np.argsort(-means, axis=None, kind="stable")[:count]
    return tuple(_head(part, *divmod(int(place), means.shape[1])) for place in places)


def _head(part: xr.Dataset, layer: int, head: int) -> TopHead:
    at = part.isel(layer=layer, head=head)
    values = {key: float(at[key]) for key in ("mean", "standard_error", "ci_low", "ci_high", "p", "p_fwer")}
    return TopHead(layer=int(at["layer"]), head=int(at["head"]), n=int(part["n"]), above=bool(at["above"]), **values)


def verdict_of(summary: xr.Dataset) -> Verdict:
    """The verdict over all stages and their order."""
    stages = tuple(_stage(summary, str(key)) for key in summary["condition"].values)
    steps = tuple(_step(summary.isel(step=i)) for i in range(summary.sizes["step"]))
    return Verdict(f"{_found(stages)} {_ordered(steps)}", stages, steps)


def _found(stages: Sequence[StageVerdict]) -> str:
    found = [f"{stage.name} ({span(stage.main_layers)})" for stage in stages if stage.found]
    missing = [stage.name for stage in stages if not stage.found]
    if not missing:
        return f"All three stages are above the noise: {listed(found)}."
    if not found:
        return "None of the three stages is above the noise."
    verbs = ["are" if len(names) > 1 else "is" for names in (found, missing)]
    return f"{capital(listed(found))} {verbs[0]} above the noise; {listed(missing)} {verbs[1]} not."


def _ordered(steps: Sequence[Step]) -> str:
    order = "retrieval < selection < feature"
    by_outcome = {outcome: [step.claim for step in steps if step.holds is outcome] for outcome in (True, False, None)}
    if len(by_outcome[True]) == len(steps):
        return f"They follow one another in the paper’s order, {order}."
    if len(by_outcome[None]) == len(steps):
        return f"Their order, {order}, could not be tested."
    parts = [f"{listed(by_outcome[True])} holds"] if by_outcome[True] else []
    parts += [f"{listed(by_outcome[False])} does not hold"] if by_outcome[False] else []
    parts += [f"{listed(by_outcome[None])} could not be tested"] if by_outcome[None] else []
    return f"Of the order {order}: {'; '.join(parts)}."


def _stage(summary: xr.Dataset, key: str) -> StageVerdict:
    part = summary.sel(condition=key)
    above = part["above"].transpose("layer", "head").values
    mass = np.where(above, part["mean"].transpose("layer", "head").values, 0.0).sum(axis=1)
    layers = summary["layer"].values
    return StageVerdict(
        key=key,
        name=NAMES.get(key, key),
        found=bool(above.any()),
        above=int(above.sum()),
        below=int(part["below"].sum()),
        heads=above.size,
        layers=tuple(int(layer) for layer in layers[above.any(axis=1)]),
        main_layers=_main_layers(layers, mass),
        n=int(part["n"]),
        detail=_detail(summary, key),
    )


def _main_layers(layers: np.ndarray, mass: np.ndarray) -> tuple[int, ...]:
    """The fewest layers that hold nine tenths of the mass; none when there is none."""
    if not mass.sum() > 0:
        return ()
    order = np.argsort(-mass, kind="stable")
    enough = int(np.searchsorted(np.cumsum(mass[order]), 0.9 * mass.sum())) + 1
    return tuple(sorted(int(layers[i]) for i in order[:enough]))


def _detail(summary: xr.Dataset, key: str) -> str:
    part, best = summary.sel(condition=key), top_heads(summary, key, 1)
    n, above, below = (int(part[name].sum()) for name in ("n", "above", "below"))
    if not best:
        return f"Not testable: {n} usable pair{'' if n == 1 else 's'}, and at least 2 are needed."
    (top,) = best
    strongest = f"L{top.layer}H{top.head}, {number(top.mean)} logits, {probability(top.p_fwer, 'family-wise p')}"
    negative = f" {_heads(below)} significantly negative." if below else ""
    if above:
        where = span([int(layer) for layer in part["layer"].values[part["above"].any("head").values]])
        return f"{_heads(above)} of {part['above'].size} in {where}; strongest {strongest} (n = {n} pairs).{negative}"
    least = 2.0 ** (1 - n)
    too_few = f" No head could have been: with {n} pairs no p is below {least:.3f}." * (least >= summary.attrs["alpha"])
    return f"None of {part['above'].size} heads; largest mean {strongest} (n = {n} pairs).{negative}{too_few}"


def _heads(count: int) -> str:
    return f"{count} head{'' if count == 1 else 's'}"


def _step(step: xr.Dataset) -> Step:
    earlier, later = (str(step[key].item()) for key in ("order_earlier", "order_later"))
    claim = f"{NAMES.get(earlier, earlier)} before {NAMES.get(later, later)}"
    reason = str(step["order_untestable"].item())
    if reason:
        for key, name in NAMES.items():
            reason = reason.replace(key, name)
        return Step(claim, None, f"{capital(reason)}.")
    difference, low, high, p = (float(step[f"order_{key}"]) for key in ("difference", "ci_low", "ci_high", "p"))
    n = int(step["order_n"])
    detail = f"{number(abs(difference))} layers {'later' if difference >= 0 else 'earlier'}"
    interval = f"difference [{number(low)}, {number(high)}]"
    return Step(
        claim,
        bool(step["order_holds"]),
        f"{capital(NAMES.get(later, later))} lies {detail} ({interval}, {probability(p)}, n = {n} pairs).",
    )


def verdict(summary: xr.Dataset, top: int = 3) -> str:
    """Plain text for the terminal: the headline, what was found of each stage, its ``top`` heads, and the order."""
    said = verdict_of(summary)
    lines = [said.headline, ""]
    for stage in said.stages:
        lines.append(stage.sentence)
        lines += [f"    {_terminal_head(head)}" for head in top_heads(summary, stage.key, top)]
    return "\n".join([*lines, "", *(step.sentence for step in said.steps)])


def _terminal_head(head: TopHead) -> str:
    name = f"L{head.layer}H{head.head}"
    interval = f"[{number(head.ci_low)}, {number(head.ci_high)}]"
    chance = probability(head.p_fwer, "family-wise p")
    return f"{name:<7} {number(head.mean):>7} ± {number(head.standard_error)}  {interval:<16}  {chance}"
