"""Maps of causal mediation by finst's engine: several pairs and conditions in one traversal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add

from jaxtyping import Float
from torch import Tensor

from finst.bench.subject import Pair, Subject, contexts_needed
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import Rows
from finst.engine.record import Recording, record
from finst.experiments.cma.design import CONTEXTS, Condition
from finst.experiments.cma.walk import map_rows
from finst.vlm.encode import Encoded

Logits = Float[Tensor, "row answer"]


def needed(pair: Pair, conditions: Sequence[Condition]) -> dict[str, Encoded]:
    """The contexts of a pair that must be recorded, by name."""
    return {name: pair[CONTEXTS.index(name)] for name in contexts_needed(conditions)}


def maps(subject: Subject, pairs: Sequence[Pair], conditions: Sequence[Condition]) -> list[Logits]:
    """The logits of each pair's rows, computed from pixels."""
    recorded = [needed(pair, conditions) for pair in pairs]
    recording = record(subject.vlm, [context for contexts in recorded for context in contexts.values()])
    rows: dict[int, Rows] = {}
    for contexts in recorded:
        first = len(rows) * len(contexts)
        z = {name: recording.z[first + index] for index, name in enumerate(contexts)}
        rows[first] = map_rows(contexts["clean"], z, conditions)
    return _walked(subject, recording, rows)


def _walked(subject: Subject, recording: Recording, rows: Mapping[int, Rows]) -> list[Logits]:
    """The logits of rows that start from different clean contexts of one recording; ``rows`` by the context's index."""
    started = [pair_rows.on(clean) for clean, pair_rows in rows.items()]
    logits = counterfactuals(subject.vlm, recording, reduce(add, started), subject.answers)
    return list(logits.split([pair_rows.count for pair_rows in started]))
