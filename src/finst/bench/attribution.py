"""What attribution patching gives up and what it saves, held against the exact map of the same pairs."""

from __future__ import annotations

import statistics as plain
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from finst.analysis import mediation
from finst.analysis.ranks import spearman, top_overlap
from finst.analysis.statistics import mean, resampled_means, tails
from finst.bench.clock import device_name, timed
from finst.bench.spec import BenchAttribution
from finst.engine.attribution import attribution
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import each_head, unedited
from finst.engine.record import record
from finst.errors import FinstError
from finst.experiments.cma.design import (
    COLOURS,
    CONDITIONS,
    CONTEXTS,
    Condition,
    colours_of,
    contexts_of,
    patched_positions,
    prompt_of,
)
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.scenes.designs import MediationPair, mediation_pairs
from finst.vlm.encode import Encoded, first_tokens
from finst.vlm.open import VLM, Reader, open_reader, open_vlm

Map = Float[np.ndarray, "layer head"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Agreement:
    """One estimate of one condition's map against the exact one, both as means over pairs."""

    condition: str
    steps: int
    rank_correlation: float
    """Spearman's, over heads."""
    ci_low: float
    """Bootstrap interval (95 %) over pairs."""
    ci_high: float
    top_overlap: int
    """Heads among the highest of both maps."""
    largest_difference: float
    """Of any head, in logits."""
    largest_exact: float
    """Largest absolute exact score, in logits: what the difference is to be compared with."""
    seconds: float
    """For one pair, from pixels to map; median over pairs."""
    exact_seconds: float
    """The same for the exact map."""


@dataclass(frozen=True)
class Comparison:
    """All conditions, the plain estimate before the integrated one."""

    model: str
    device: str
    dtype: str
    tokens: int
    heads: int
    pairs: int
    top: int
    agreements: tuple[Agreement, ...]


@dataclass(frozen=True, eq=False)
class _Measured:
    """One condition of one pair by every way, each with its seconds."""

    exact: tuple[Map, float]
    estimates: dict[int, tuple[Map, float]]
    """By number of steps."""


@dataclass(frozen=True, eq=False)
class _Task:
    """One condition of one pair."""

    clean: Encoded
    source: Encoded
    positions: tuple[int, ...]
    answers: tuple[int, int]
    """a1 and a1*."""


def compare(spec: BenchAttribution) -> Comparison:
    """Computes every pair's maps in turn by each way and compares their means.

    Raises FinstError, before weights load, for a model that cannot be opened, pictures or colours that do not suit it,
    and numbers out of range.
    """
    reader = open_reader(spec.model, revision=spec.revision)
    _check(spec, reader)
    vlm = open_vlm(reader, dtype=spec.dtype, device=spec.device)
    steps = sorted({1, spec.steps})
    pairs = [_tasks(vlm, spec, pair) for pair in mediation_pairs(spec.pairs, spec.seed)]
    measured = [{name: _measured(vlm, task, steps) for name, task in tasks.items()} for tasks in pairs]
    agreements = tuple(
        _agreement(spec, name, count, [pair[name] for pair in measured]) for name in CONDITIONS for count in steps
    )
    tokens = len(pairs[0]["id_retrieval"].clean.tokens)
    heads = vlm.n_layers * vlm.n_heads
    device = device_name(vlm.device)
    return Comparison(spec.model, device, spec.dtype, tokens, heads, spec.pairs, spec.top, agreements)


def _check(spec: BenchAttribution, reader: Reader) -> None:
    CMA().check(_mediation(spec), reader)
    if spec.pairs < 2:
        raise FinstError(f"pairs is {spec.pairs}: an interval over pairs needs at least 2")
    if spec.steps < 1:
        raise FinstError(f"steps is {spec.steps}: an estimate needs at least 1 gradient")
    config = reader.config.get_text_config()
    heads = config.num_hidden_layers * config.num_attention_heads
    if not 1 <= spec.top <= heads:
        raise FinstError(f"top is {spec.top}: {spec.model} has {heads} heads, so expected 1 to {heads}")


def _mediation(spec: BenchAttribution) -> CMASpec:
    shared = ("model", "revision", "pairs", "seed", "placement", "bootstraps")
    return CMASpec(**{name: getattr(spec, name) for name in shared})


def _tasks(vlm: VLM, spec: BenchAttribution, pair: MediationPair) -> dict[str, _Task]:
    mediation_spec = _mediation(spec)
    contexts = contexts_of(vlm.reader, mediation_spec, pair)
    tokens = first_tokens(vlm.reader, prompt_of(mediation_spec, pair), colours_of(pair))
    return {name: _task(contexts, tokens, condition) for name, condition in CONDITIONS.items()}


def _task(contexts: Sequence[Encoded], tokens: Sequence[int], condition: Condition) -> _Task:
    original, counterfactual = (tokens[COLOURS.index(c)] for c in (condition.original, condition.counterfactual))
    source = contexts[CONTEXTS.index(condition.source)]
    return _Task(contexts[0], source, patched_positions(contexts[0], condition), (original, counterfactual))


def _measured(vlm: VLM, task: _Task, steps: Sequence[int]) -> _Measured:
    exact = timed(partial(_exact, vlm, task), vlm.device)
    return _Measured(exact, {count: timed(partial(_estimate, vlm, task, count), vlm.device) for count in steps})


def _exact(vlm: VLM, task: _Task) -> Map:
    both = record(vlm, [task.clean, task.source])
    rows = unedited() + each_head(both.z[1], task.positions)
    logits = counterfactuals(vlm, both[0], rows, task.answers).cpu().numpy()
    return mediation.scores(logits[1:], logits[:1]).reshape(vlm.n_layers, vlm.n_heads)


def _estimate(vlm: VLM, task: _Task, steps: int) -> Map:
    scores = attribution(vlm, task.clean, task.source, task.positions, task.answers, steps=steps)
    return scores.cpu().numpy().astype(np.float64)


def _agreement(spec: BenchAttribution, condition: str, steps: int, measured: Sequence[_Measured]) -> Agreement:
    # One array, so that a resample takes the same pairs for both.
    both = np.stack([[pair.exact[0].ravel(), pair.estimates[steps][0].ravel()] for pair in measured])
    exact, estimate = mean(both)
    resampled = resampled_means(both, resamples=spec.bootstraps, seed=spec.seed)
    low, high = np.quantile(spearman(resampled[:, 0], resampled[:, 1]), tails(CONFIDENCE))
    return Agreement(
        condition,
        steps,
        float(spearman(exact, estimate)),
        float(low),
        float(high),
        top_overlap(exact, estimate, spec.top),
        float(abs(exact - estimate).max()),
        float(abs(exact).max()),
        plain.median(pair.estimates[steps][1] for pair in measured),
        plain.median(pair.exact[1] for pair in measured),
    )


def table(found: Comparison) -> str:
    """The comparison for a terminal."""
    lines = [
        f"{found.model}, {found.heads} heads, {found.tokens} tokens, {found.dtype}, {found.device}; "
        f"means of {found.pairs} pairs, rank correlation over heads with its 95 % interval over pairs",
        f"{'condition':<18}{'steps':>5}  {'rank correlation':<21}{f'top {found.top}':>7}"
        f"{'largest difference':>20}{'seconds':>9}{'exact':>8}",
    ]
    for row in found.agreements:
        rank = f"{row.rank_correlation:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]"
        difference = f"{row.largest_difference:.2f} of {row.largest_exact:.2f}"
        lines.append(
            f"{row.condition:<18}{row.steps:>5}  {rank:<21}{row.top_overlap:>7}"
            f"{difference:>20}{row.seconds:>9.3f}{row.exact_seconds:>8.3f}"
        )
    return "\n".join(lines)
