"""Accuracy and cost of attribution patching, compared with the exact map of the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

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
    """One condition's estimated map compared with the exact one, both as means over pairs."""

    condition: str
    steps: int
    """Gradients a layer of the estimate; 1 is plain attribution patching."""
    rank_correlation: float
    """Spearman's correlation over heads."""
    ci_low: float
    """Lower end of its bootstrap interval (95 %) over pairs."""
    ci_high: float
    """Its upper end."""
    top_overlap: int
    """Heads among the highest of both maps."""
    largest_difference: float
    """Largest absolute difference of any head, in logits."""
    largest_exact: float
    """Largest absolute exact score, in logits: the scale of the difference."""
    seconds: float
    """Time of the estimate for one pair, from pixels to map; median over pairs."""
    exact_seconds: float
    """The same for the exact map."""


@dataclass(frozen=True)
class AttributionComparison:
    """The agreements of all conditions, those of the plain estimate before those of the integrated one."""

    model: str
    device: str
    dtype: str
    tokens: int
    """Length of a context."""
    heads: int
    """Heads of the model, in all layers."""
    pairs: int
    top: int
    """How many of the highest heads ``top_overlap`` counts among."""
    agreements: tuple[Agreement, ...]


@dataclass(frozen=True, eq=False)
class _TimedMaps:
    """The exact and the estimated maps of one condition of one pair, each with its seconds."""

    exact: tuple[Map, float]
    estimates: dict[int, tuple[Map, float]]
    """By number of steps."""


@dataclass(frozen=True, eq=False)
class _PatchedPair:
    """One condition of one pair: what is patched, and where."""

    clean: Encoded
    source: Encoded
    positions: tuple[int, ...]
    answers: tuple[int, int]
    """Tokens of a1, the right answer, and of a1*, the answer with the source's heads."""


def compare(spec: BenchAttribution) -> AttributionComparison:
    """Computes the exact and the estimated maps of every pair and compares their means over pairs.

    Raises FinstError, before weights load, for a model that cannot be opened, pictures or colours that do not suit it,
    and numbers out of range.
    """
    reader = open_reader(spec.model, revision=spec.revision)
    _check(spec, reader)
    vlm = open_vlm(reader, dtype=spec.dtype, device=spec.device)
    steps = sorted({1, spec.steps})
    pairs = [_patched_pairs(vlm, spec, pair) for pair in mediation_pairs(spec.pairs, spec.seed)]
    maps = [{name: _timed_maps(vlm, patched, steps) for name, patched in pair.items()} for pair in pairs]
    agreements = tuple(
        _agreement(spec, name, count, [pair[name] for pair in maps]) for name in CONDITIONS for count in steps
    )
    tokens = len(pairs[0]["id_retrieval"].clean.tokens)
    heads = vlm.n_layers * vlm.n_heads
    device = device_name(vlm.device)
    return AttributionComparison(spec.model, device, spec.dtype, tokens, heads, spec.pairs, spec.top, agreements)


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


def _patched_pairs(vlm: VLM, spec: BenchAttribution, pair: MediationPair) -> dict[str, _PatchedPair]:
    """The pair in every condition, by the condition's name."""
    mediation_spec = _mediation(spec)
    contexts = contexts_of(vlm.reader, mediation_spec, pair)
    tokens = first_tokens(vlm.reader, prompt_of(mediation_spec, pair), colours_of(pair))
    return {name: _patched_pair(contexts, tokens, condition) for name, condition in CONDITIONS.items()}


def _patched_pair(contexts: Sequence[Encoded], tokens: Sequence[int], condition: Condition) -> _PatchedPair:
    original, counterfactual = (tokens[COLOURS.index(c)] for c in (condition.original, condition.counterfactual))
    source = contexts[CONTEXTS.index(condition.source)]
    return _PatchedPair(contexts[0], source, patched_positions(contexts[0], condition), (original, counterfactual))


def _timed_maps(vlm: VLM, pair: _PatchedPair, steps: Sequence[int]) -> _TimedMaps:
    exact = timed(partial(_exact, vlm, pair), vlm.device)
    return _TimedMaps(exact, {count: timed(partial(_estimate, vlm, pair, count), vlm.device) for count in steps})


def _exact(vlm: VLM, pair: _PatchedPair) -> Map:
    recording = record(vlm, [pair.clean, pair.source])
    rows = unedited() + each_head(recording.z[1], pair.positions)
    logits = counterfactuals(vlm, recording[0], rows, pair.answers).cpu().numpy()
    return mediation.scores(logits[1:], logits[:1]).reshape(vlm.n_layers, vlm.n_heads)


def _estimate(vlm: VLM, pair: _PatchedPair, steps: int) -> Map:
    scores = attribution(vlm, pair.clean, pair.source, pair.positions, pair.answers, steps=steps)
    return scores.cpu().numpy().astype(np.float64)


def _agreement(spec: BenchAttribution, condition: str, steps: int, maps: Sequence[_TimedMaps]) -> Agreement:
    # One array, so that a resample takes the same pairs for both maps.
    both = np.stack([[pair.exact[0].ravel(), pair.estimates[steps][0].ravel()] for pair in maps])
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
        median(pair.estimates[steps][1] for pair in maps),
        median(pair.exact[1] for pair in maps),
    )


def table(comparison: AttributionComparison) -> str:
    """The comparison as a table for the terminal."""
    lines = [
        f"{comparison.model}, {comparison.heads} heads, {comparison.tokens} tokens, {comparison.dtype}, "
        f"{comparison.device}; means of {comparison.pairs} pairs, rank correlation over heads with its 95 % interval "
        "over pairs",
        f"{'condition':<18}{'steps':>5}  {'rank correlation':<21}{f'top {comparison.top}':>7}"
        f"{'largest difference':>20}{'seconds':>9}{'exact':>8}",
    ]
    for row in comparison.agreements:
        rank = f"{row.rank_correlation:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]"
        difference = f"{row.largest_difference:.2f} of {row.largest_exact:.2f}"
        lines.append(
            f"{row.condition:<18}{row.steps:>5}  {rank:<21}{row.top_overlap:>7}"
            f"{difference:>20}{row.seconds:>9.3f}{row.exact_seconds:>8.3f}"
        )
    return "\n".join(lines)
