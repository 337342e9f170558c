"""Causal mediation pair by pair: the slow twin of ``walk.pair_logits``."""

from __future__ import annotations

from collections.abc import Sequence

from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import each_head, unedited
from finst.engine.record import record
from finst.experiments.cma.design import CONDITIONS, CONTEXTS, patched_positions
from finst.experiments.cma.walk import PairContexts, PairLogits
from finst.vlm.open import VLM


def pair_by_pair(vlm: VLM, pairs: Sequence[PairContexts]) -> list[PairLogits]:
    """A recording and a walk for each pair, and for no other token than its own."""
    logits = []
    for pair in pairs:
        recording = record(vlm, pair.contexts)
        rows = unedited()
        for condition in CONDITIONS.values():
            source = recording.z[CONTEXTS.index(condition.source)]
            rows = rows + each_head(source, patched_positions(pair.contexts[0], condition))
        logits.append(PairLogits(recording.logits, counterfactuals(vlm, recording[0], rows, pair.tokens)))
    return logits
