"""The speed of finst's engine relative to one forward pass a row, measured in one run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.bench.clock import timed, weighed
from finst.bench.limits.costs import floor_of, floor_report, measured_costs
from finst.bench.maps import Logits, chosen_rows, looped, maps, slow_engines
from finst.bench.spec import BenchSweep
from finst.bench.subject import Subject, conditions_of, described, open_subject, weights_bytes
from finst.errors import FinstError


def sweep(spec: BenchSweep) -> dict[str, Any]:
    """Seconds of ``inputs`` pairs by every engine, ratios, the largest difference between logits, and the floor.

    Every engine starts from pixels and ends with the answers' logits of all rows. Engines take turns, so that other
    load on the machine slows all of them. Values are None for engines that did not run, and for memory on the CPU.
    Raises FinstError as ``open_subject`` does, and for numbers out of range.
    """
    if spec.repeats < 1:
        raise FinstError(f"repeats must be at least 1, not {spec.repeats}")
    if spec.loop_rows < 0:
        raise FinstError(f"loop_rows must be 0 (all rows) or more, not {spec.loop_rows}")
    return measured(open_subject(spec, spec.inputs), spec)


def measured(subject: Subject, spec: BenchSweep) -> dict[str, Any]:
    """The result of ``sweep`` for an open subject."""
    conditions = conditions_of(spec.condition)
    pairs = [subject.pair(index) for index in range(spec.inputs)]
    costs = measured_costs(subject.vlm, pairs[0][0])
    ours, peak_bytes = weighed(partial(maps, subject, pairs, conditions), subject.vlm.device)
    chosen = chosen_rows(len(ours[0]), len(pairs), spec.loop_rows, spec.seed)

    def slowly(engine: Any) -> tuple[list[Logits], float]:
        runs = [looped(engine, subject, pair, conditions, rows) for pair, rows in zip(pairs, chosen, strict=True)]
        return [logits for logits, _ in runs], sum(seconds for _, seconds in runs)

    engines: dict[str, Callable[[], tuple[list[Logits], float]]] = {
        "ours": lambda: timed(partial(maps, subject, pairs, conditions), subject.vlm.device),
        **{name: partial(slowly, engine) for name, engine in slow_engines(spec.engines).items()},
    }
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    logits: dict[str, list[Logits]] = {}
    for _ in range(spec.repeats):
        for name, engine in engines.items():
            logits[name], elapsed = engine()
            seconds[name].append(elapsed)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    ours = logits.pop("ours")
    return {
        **described(subject, spec, pairs[0]),
        **{f"{name}_s": median.get(name) for name in ("ours", "hooks", "nnsight")},
        **{f"ratio_{name}": _ratio(median.get(name), median["ours"]) for name in ("hooks", "nnsight")},
        "max_abs_error": max((_error(ours, slow, chosen) for slow in logits.values()), default=None),
        "max_abs_effect": max(float((rows - rows[0]).abs().max()) for rows in ours),
        "repeats": spec.repeats,
        "rows": sum(len(rows) for rows in ours),
        "loop_rows": sum(len(rows) for rows in chosen) if logits else None,
        **floor_report(floor_of(costs, pairs, conditions), costs, median["ours"]),
        "weights_bytes": weights_bytes(subject.vlm),
        "peak_bytes": peak_bytes,
    }


def _ratio(slow: float | None, ours: float) -> float | None:
    return None if slow is None else slow / ours


def _error(
    ours: list[Float[Tensor, "row answer"]],
    slow: list[Float[Tensor, "chosen answer"]],
    chosen: list[Int[np.ndarray, "chosen"]],
) -> float:
    """The largest difference between logits, over the rows that both engines ran."""
    both = [
        (fast[torch.from_numpy(rows).to(fast.device)], looped_logits)
        for fast, looped_logits, rows in zip(ours, slow, chosen, strict=True)
    ]
    return max(float((fast - looped_logits).abs().max()) for fast, looped_logits in both)
