"""Maps of causal mediation in two ways: by finst's engine, several pairs at once, and by a loop of one pass a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from importlib.util import find_spec
from operator import add
from types import ModuleType

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from finst.bench.clock import timed
from finst.bench.subject import Pair, Subject, contexts_needed
from finst.engine import hooks
from finst.engine import nnsight as nnsight_engine
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import Rows
from finst.engine.record import Recording, record
from finst.experiments.cma.design import CONTEXTS, Condition
from finst.experiments.cma.walk import map_rows
from finst.vlm.encode import Encoded

Logits = Float[Tensor, "row answer"]
Chosen = Int[np.ndarray, "row"]
"""Indices of the rows that run."""


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


def slow_engines(names: Sequence[str]) -> dict[str, ModuleType]:
    """The slow engines that are named in ``names`` and installed."""
    installed = {"hooks": hooks} | ({} if find_spec("nnsight") is None else {"nnsight": nnsight_engine})
    return {name: engine for name, engine in installed.items() if name in names}


def chosen_rows(count: int, pairs: int, loop_rows: int, seed: int) -> list[Chosen]:
    """For each pair, the rows that run: all ``count``, or its share of ``loop_rows`` (at least 2) at random."""
    share = min(count, max(2, -(-loop_rows // pairs))) if loop_rows else count
    rng = np.random.default_rng(seed)
    return [np.sort(rng.choice(count, share, replace=False)) for _ in range(pairs)]


def looped(
    engine: ModuleType, subject: Subject, pair: Pair, conditions: Sequence[Condition], chosen: Chosen
) -> tuple[Logits, float]:
    """The logits of the chosen rows, and the seconds of all rows, from pixels to logits.

    A second call with a single row separates the fixed cost of a call from the cost of each row.
    """
    vlm, contexts = subject.vlm, needed(pair, conditions)
    sources = {name: context for name, context in contexts.items() if name != "clean"}
    z, recording_s = timed(lambda: {name: engine.record_z(vlm, source) for name, source in sources.items()}, vlm.device)
    rows = map_rows(contexts["clean"], z, conditions)

    def run(indices: Chosen) -> tuple[Logits, float]:
        return timed(
            lambda: engine.counterfactuals(vlm, contexts["clean"], rows.take(indices), subject.answers), vlm.device
        )

    if len(chosen) == rows.count:
        logits, seconds = run(chosen)
        return logits, recording_s + seconds
    _, one_s = run(chosen[:1])
    logits, some_s = run(chosen)
    return logits, recording_s + scaled_s(one_s, some_s, len(chosen), rows.count)


def scaled_s(one_s: float, some_s: float, some: int, rows: int) -> float:
    """Seconds of ``rows`` rows, extrapolated linearly from one row (``one_s``) and ``some`` rows (``some_s``)."""
    return one_s + (some_s - one_s) * (rows - 1) / (some - 1)
