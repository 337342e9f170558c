"""The cost of RSA at many places, on random activations; and at one place compared with whole RSMs."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from finst.analysis import rsa as analysis
from finst.analysis.comparisons import Comparison
from finst.analysis.rsm import Target, cosine_rsm, entries, match, mean_of, position
from finst.bench.spec import BenchRSA
from finst.errors import FinstError

CELLS = 3
"""Rows and columns of the grid; there are as many colours and shapes as cells."""


def rsa(spec: BenchRSA) -> dict[str, Any]:
    """Seconds by the clock and of all cores, and peak memory, for all places; and the time of one place by whole RSMs.

    Raises FinstError as ``finst.analysis.rsa`` does.
    """
    if min(spec.layers, spec.roles, spec.d_model, spec.plain_permutations) < 1:
        raise FinstError("layers, roles, d_model and plain_permutations must be at least 1")
    before = peak_bytes()
    start, used = time.perf_counter(), time.process_time()
    _analysed(spec, spec.trials, spec.layers * spec.roles, spec.permutations)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - used
    return {
        "places": spec.layers * spec.roles,
        "trials": spec.trials,
        "d_model": spec.d_model,
        "permutations": spec.permutations,
        "resamples": spec.resamples,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_bytes": peak_bytes(),
        "peak_bytes_before": before,
        "plain": _plain(spec),
    }


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _analysed(spec: BenchRSA, trials: int, places: int, permutations: int) -> None:
    labels = _labels(spec, trials)
    targets = _targets(labels)
    plain = [Comparison(name) for name in targets]
    partial = [Comparison("position", "features"), Comparison("features", "position")]
    analysis.rsa(
        _activations(spec, trials, places),
        targets,
        [*plain, *partial],
        conditions=labels[:, 0],
        permutations=permutations,
        resamples=spec.resamples,
        seed=spec.seed,
    )


def _plain(spec: BenchRSA) -> dict[str, Any]:
    """Seconds a permutation at one place, for position alone and without a bootstrap: by whole RSMs, and by finst."""
    trials, permutations = spec.plain_trials, spec.plain_permutations
    (activations,) = _activations(spec, trials, 1)
    labels = _labels(spec, trials)
    targets = {"position": _targets(labels)["position"]}
    rng = np.random.default_rng(spec.seed)
    start = time.perf_counter()
    rsm, target = cosine_rsm(activations), entries(targets["position"].matrix())
    for _ in range(permutations):
        order = rng.permutation(trials)
        np.corrcoef(entries(rsm[np.ix_(order, order)]), target)
    plain = (time.perf_counter() - start) / permutations
    start = time.perf_counter()
    analysis.rsa([activations], targets, permutations=spec.permutations, resamples=1, seed=spec.seed)
    ours = (time.perf_counter() - start) / spec.permutations
    return {"trials": trials, "seconds_a_permutation": {"plain": plain, "ours": ours}, "ratio": plain / ours}


def _activations(spec: BenchRSA, trials: int, places: int) -> Iterator[Float[np.ndarray, "trial d_model"]]:
    rng = np.random.default_rng(spec.seed)
    for _ in range(places):
        yield rng.standard_normal((trials, spec.d_model), dtype=np.float32)


def _labels(spec: BenchRSA, trials: int) -> Int[np.ndarray, "trial 3"]:
    """Cell, colour and shape of each trial, as numbers."""
    return np.random.default_rng(spec.seed).integers(0, CELLS**2, (trials, 3))


def _targets(labels: Int[np.ndarray, "trial 3"]) -> dict[str, Target]:
    cell, colour, shape = labels.T
    colours, shapes = match(colour), match(shape)
    return {
        "position": position(np.stack(np.divmod(cell, CELLS), axis=1)),
        "colour": colours,
        "shape": shapes,
        "features": mean_of([colours, shapes]),
    }
