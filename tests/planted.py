"""The planted models, each opened once for all tests, and experiments on them."""

from __future__ import annotations

from functools import cache
from typing import Any

import xarray as xr

from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.vlm.open import VLM, open_vlm


@cache
def vlm(name: str) -> VLM:
    return open_vlm(name, device="cpu")


def mediated(name: str, **fields: Any) -> xr.Dataset:
    """The summary of ``finst run cma`` with few resamples; ``fields`` are those of the spec."""
    spec = CMASpec(model=name, device="cpu", permutations=1000, bootstraps=100, **fields)
    return measured(CMA(), spec)


def measured(experiment: Any, spec: Any, inputs: Any = None) -> xr.Dataset:
    """The summary of all units of an experiment on a planted model; ``inputs`` as in ``Experiment.prepare``."""
    model = vlm(spec.model)
    prepared = experiment.prepare(model, spec, inputs)
    units = experiment.plan(spec)
    return experiment.summarise(spec, [experiment.measure(model, spec, unit, prepared) for unit in units])
