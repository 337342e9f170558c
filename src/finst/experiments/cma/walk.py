"""The forward passes of causal mediation: many pairs in one recording and one walk through the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from finst.engine.counterfactuals import observe
from finst.engine.edits import Rows, each_head, unedited
from finst.engine.readout import decoded
from finst.engine.reads import Read
from finst.engine.record import record
from finst.experiments.cma.design import CONDITIONS, CONTEXTS, Condition, patched_positions
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM

Z = Float[Tensor, "layer pos head d_head"]


@dataclass(frozen=True, eq=False)
class PairContexts:
    """The inputs of one pair."""

    contexts: Sequence[Encoded]
    """The contexts in the order of ``CONTEXTS``, all of one length."""
    tokens: Sequence[int]
    """Token ids of the answers whose logits are kept."""
    at_described: bool = False
    """Whether to also keep the logits at the described object's tokens, of the rows that are patched there."""


@dataclass(frozen=True, eq=False)
class PairLogits:
    """The logits of one pair."""

    contexts: Float[Tensor, "context vocab"]
    """Logits of the recorded contexts."""
    rows: Float[Tensor, "row answer"]
    """Logits of ``map_rows``: the unedited row, then every head in every condition."""
    described: Float[Tensor, "run pos answer"] | None = None
    """Logits at the described object's tokens: of the recorded clean context, of the unedited row, and of every head
    patched there. None unless ``at_described``."""


def map_rows(clean: Encoded, z: Mapping[str, Z], conditions: Sequence[Condition]) -> Rows:
    """The unedited row, then every head in every condition (paper, Fig 1d).

    ``z`` has the outputs of all heads by the name of the source context.
    """
    rows = unedited()
    for condition in conditions:
        rows = rows + each_head(z[condition.source], patched_positions(clean, condition))
    return rows


def pair_logits(vlm: VLM, pairs: Sequence[PairContexts]) -> list[PairLogits]:
    """The logits of every pair, in the order given.

    Pairs of one length share a recording and a walk. More pairs keep a GPU busier and need more memory, mostly for the
    recording, which has each layer's input, keys, values and head outputs of every context. Grouping changes only
    rounding.
    """
    groups: dict[int, list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault(len(pair.contexts[0].tokens), []).append(index)
    by_index: dict[int, PairLogits] = {}
    for group in groups.values():
        by_index.update(zip(group, _of_one_length(vlm, [pairs[index] for index in group]), strict=True))
    return [by_index[index] for index in range(len(pairs))]


def _of_one_length(vlm: VLM, pairs: Sequence[PairContexts]) -> list[PairLogits]:
    """The logits of pairs whose contexts have the same length."""
    recording = record(vlm, [context for pair in pairs for context in pair.contexts])
    z, contexts = (kept.split(len(CONTEXTS)) for kept in (recording.z, recording.logits))
    rows = [
        map_rows(pair.contexts[0], dict(zip(CONTEXTS, each, strict=True)), list(CONDITIONS.values())).on(
            index * len(CONTEXTS)
        )
        for index, (pair, each) in enumerate(zip(pairs, z, strict=True))
    ]
    answers = sorted({token for pair in pairs for token in pair.tokens})
    starts = np.cumsum([0, *(pair_rows.count for pair_rows in rows[:-1])]).tolist()
    reads = [_at_described(vlm, pair, start) for pair, start in zip(pairs, starts, strict=True) if pair.at_described]
    observed = observe(vlm, recording, reduce(add, rows), reads, answers)
    logits, outputs = observed.logits.split([pair_rows.count for pair_rows in rows]), iter(observed.reads)
    results = []
    for index, (pair, recorded, edited) in enumerate(zip(pairs, contexts, logits, strict=True)):
        described = None
        if pair.at_described:
            clean = recording.output[index * len(CONTEXTS), list(pair.contexts[0].tokens.described(0))]
            described = decoded(vlm, torch.cat([clean[None], next(outputs)[:, 0]]), pair.tokens)
        columns = [answers.index(token) for token in pair.tokens]
        results.append(PairLogits(recorded, edited[:, columns], described))
    return results


def _at_described(vlm: VLM, pair: PairContexts, start: int) -> Read:
    """Reads the last layer's output of the unedited row (number ``start``) and of the rows of ID retrieval after it."""
    rows = range(start, start + 1 + vlm.n_layers * vlm.n_heads)
    return Read("resid", (vlm.n_layers - 1,), pair.contexts[0].tokens.described(0), tuple(rows))
