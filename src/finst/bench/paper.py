"""The time of causal mediation at the paper's scale, by finst's engine."""

from __future__ import annotations

from functools import partial, reduce
from operator import add
from typing import Any

from rich.console import Console

from finst.bench.clock import timed, weighed
from finst.bench.limits.costs import Floor, floor_of, floor_report, measured_costs
from finst.bench.maps import maps
from finst.bench.spec import BenchPaper
from finst.bench.subject import Subject, conditions_of, described, open_subject, weights_bytes
from finst.runs.progress import progress


def paper(spec: BenchPaper, console: Console | None = None) -> dict[str, Any]:
    """Seconds of all pairs from pixels to logits, recording included, with peak memory and the floor.

    ``runs`` is the number of forward passes without the engine: one for each pair, condition and head. Drawing and
    tokenising are not timed. Raises FinstError as ``open_subject`` does.
    """
    return measured(open_subject(spec, spec.pairs), spec, console or Console(stderr=True))


def measured(subject: Subject, spec: BenchPaper, console: Console) -> dict[str, Any]:
    """The result of ``paper`` for an open subject."""
    conditions, device = conditions_of(spec.condition), subject.vlm.device
    costs = measured_costs(subject.vlm, subject.pair(0)[0])
    seconds, peaks, floors = [], [], []
    starts = range(0, spec.pairs, spec.inputs)
    with progress(console, len(starts)) as bar:
        for start in starts:
            stop = min(start + spec.inputs, spec.pairs)
            name = f"pairs {start}-{stop - 1}"
            bar.begin(name)
            pairs = [subject.pair(index) for index in range(start, stop)]
            (_, elapsed), peak = weighed(partial(timed, partial(maps, subject, pairs, conditions), device), device)
            seconds.append(elapsed)
            peaks.append(peak)
            floors.append(floor_of(costs, pairs, conditions))
            bar.advance(name)
    total: Floor = reduce(add, floors)
    heads = subject.vlm.n_layers * subject.vlm.n_heads
    return {
        **described(subject, spec, subject.pair(0)),
        "pairs": spec.pairs,
        "runs": spec.pairs * len(conditions) * heads,
        "seconds": sum(seconds),
        **floor_report(total, costs, sum(seconds)),
        "weights_bytes": weights_bytes(subject.vlm),
        "peak_bytes": None if peaks[0] is None else max(peaks),
    }
