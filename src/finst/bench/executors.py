"""How much sooner several workers have measured the units of causal mediation than one worker."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

from finst.bench.clock import device_name
from finst.bench.spec import BenchExecutors
from finst.errors import FinstError
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.runs.backends.backend import Backend, Begun, Measured, Work
from finst.runs.backends.execution import Execution
from finst.runs.backends.open_backend import open_backend
from finst.vlm.open import VLM, open_reader, open_vlm


def executors(spec: BenchExecutors) -> dict[str, Any]:
    """Seconds of all units by one worker and by several, and their ratio in each repeat.

    The executor is ``processes``. All workers have opened the model and measured before the clock starts.
    Units are sent to the process that started the workers, and not stored. ``load`` is that of the machine before and
    after, in processes that want to run. Raises FinstError for numbers below 2 workers or 1 repeat, and as
    ``open_backend`` and ``finst run cma`` do.
    """
    if spec.workers < 2 or spec.repeats < 1:
        raise FinstError(
            f"workers is {spec.workers} and repeats is {spec.repeats}: expected at least 2 workers, 1 repeat"
        )
    settings = CMASpec(
        spec.model, spec.revision, spec.dtype, spec.device, pairs=spec.pairs, pairs_per_unit=spec.pairs_per_unit,
        only_correct=False, seed=spec.seed,
    )  # fmt: skip
    settings.check()
    experiment, load = CMA(), os.getloadavg()[0]
    with (
        open_backend(Execution("processes", 1), spec.device) as one,
        open_backend(Execution("processes", spec.workers), spec.device) as several,
    ):
        reader = open_reader(spec.model, revision=spec.revision)
        experiment.check(settings, reader)
        units = experiment.plan(settings)
        if len(units) < spec.workers:
            raise FinstError(f"{len(units)} units for {spec.workers} workers: expected more pairs, or smaller units")
        vlm = open_vlm(reader, dtype=spec.dtype, device=spec.device)
        work = Work(experiment, settings, units, experiment.prepare(vlm, settings, None))
        for backend, workers in ((one, 1), (several, spec.workers)):
            while most_at_once(backend, work, vlm) < workers:
                pass  # a worker is still opening the model
        pairs = [(_seconds(one, work, vlm), _seconds(several, work, vlm)) for _ in range(spec.repeats)]
    ratios = sorted(alone / together for alone, together in pairs)
    return {
        "model": spec.model,
        "device": device_name(vlm.device),
        "workers": spec.workers,
        "cores": os.cpu_count(),
        "units": len(units),
        "pairs": spec.pairs,
        "repeats": spec.repeats,
        "one_worker_s": statistics.median(alone for alone, _ in pairs),
        "workers_s": statistics.median(together for _, together in pairs),
        "ratio": statistics.median(ratios),
        "ratio_lowest": ratios[0],
        "ratio_highest": ratios[-1],
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
    }


def most_at_once(backend: Backend, work: Work, vlm: VLM) -> int:
    """The largest number of units that were in work at a time, while all were measured."""
    now = most = 0
    for step in backend.measure(work, vlm, range(len(work.units))):
        now += isinstance(step, Begun) - isinstance(step, Measured)
        most = max(most, now)
    return most


def _seconds(backend: Backend, work: Work, vlm: VLM) -> float:
    started = time.perf_counter()
    for _ in backend.measure(work, vlm, range(len(work.units))):
        pass
    return time.perf_counter() - started
