"""The forward passes of causal mediation: many pairs in one recording and one walk."""

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
class Asked:
    """What one pair asks of the model."""

    contexts: Sequence[Encoded]
    """In the order of ``CONTEXTS``; of one length."""
    tokens: Sequence[int]
    """The answers whose logits are kept."""
    at_described: bool = False
    """Also keep those at the described object's tokens, of the runs that are patched there."""


@dataclass(frozen=True, eq=False)
class Answered:
    """What the model says to one pair."""

    contexts: Float[Tensor, "context vocab"]
    """Logits of the recorded contexts."""
    rows: Float[Tensor, "row answer"]
    """Logits of ``map_rows``: the unedited row, then every head in every condition."""
    described: Float[Tensor, "run pos answer"] | None = None
    """Logits at the described object's tokens, if asked for: of the recorded clean context, the unedited row, and
    every head patched there."""


def map_rows(clean: Encoded, z: Mapping[str, Z], conditions: Sequence[Condition]) -> Rows:
    """The unedited row, then every head in every condition (paper, Fig 1d); ``z`` by the name of the source context."""
    rows = unedited()
    for condition in conditions:
        rows = rows + each_head(z[condition.source], patched_positions(clean, condition))
    return rows


def answered(vlm: VLM, asked: Sequence[Asked]) -> list[Answered]:
    """Every pair's answers, in the order given.

    Pairs of one length share a recording and a walk. So more pairs keep a GPU busier and need more memory, above all
    for the recording: of every context, each layer's input, keys, values and head outputs. How pairs are put
    together changes rounding only.
    """
    groups: dict[int, list[int]] = {}
    for index, pair in enumerate(asked):
        groups.setdefault(len(pair.contexts[0].tokens), []).append(index)
    found: dict[int, Answered] = {}
    for group in groups.values():
        found.update(zip(group, _together(vlm, [asked[index] for index in group]), strict=True))
    return [found[index] for index in range(len(asked))]


def _together(vlm: VLM, pairs: Sequence[Asked]) -> list[Answered]:
    """Pairs of one length."""
    recording = record(vlm, [context for pair in pairs for context in pair.contexts])
    z, contexts = (kept.split(len(CONTEXTS)) for kept in (recording.z, recording.logits))
    rows = [
        map_rows(pair.contexts[0], dict(zip(CONTEXTS, each, strict=True)), list(CONDITIONS.values())).on(
            index * len(CONTEXTS)
        )
        for index, (pair, each) in enumerate(zip(pairs, z, strict=True))
    ]
    answers = sorted({token for pair in pairs for token in pair.tokens})
    starts = np.cumsum([0, *(some.count for some in rows[:-1])]).tolist()
    reads = [_at_described(vlm, pair, start) for pair, start in zip(pairs, starts, strict=True) if pair.at_described]
    observed = observe(vlm, recording, reduce(add, rows), reads, answers)
    logits, seen = observed.logits.split([some.count for some in rows]), iter(observed.reads)
    columns = [[answers.index(token) for token in pair.tokens] for pair in pairs]
    found = []
    for index, (pair, of, some, own) in enumerate(zip(pairs, contexts, logits, columns, strict=True)):
        described = None
        if pair.at_described:
            clean = recording.output[index * len(CONTEXTS), list(pair.contexts[0].tokens.described(0))]
            described = decoded(vlm, torch.cat([clean[None], next(seen)[:, 0]]), pair.tokens)
        found.append(Answered(of, some[:, own], described))
    return found


def _at_described(vlm: VLM, pair: Asked, start: int) -> Read:
    """The last layer's output of the unedited row (number ``start``) and the rows of ID retrieval, which come next."""
    rows = range(start, start + 1 + vlm.n_layers * vlm.n_heads)
    return Read("resid", (vlm.n_layers - 1,), pair.contexts[0].tokens.described(0), tuple(rows))
