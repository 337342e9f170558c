"""Measured data repeated to any number of trials, so that statistics can be timed without the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from finst.runs.experiment import Unit

NOISE = 0.01
"""Standard deviation of the noise that is added to repeated activations and scores, as a share of their own: equal
values would tie, and ties change how long sorting takes."""


def repeated(data: xr.Dataset, units: Sequence[Unit], dim: str) -> list[xr.Dataset]:
    """The trials of ``data`` again and again, in the shape of ``units``; ``dim`` is that of trials."""
    rng = np.random.default_rng(0)
    count = data.sizes[dim]
    parts: list[xr.Dataset] = []
    for unit in units:
        part = data.isel({dim: np.array(unit.trials) % count}).assign_coords({dim: list(unit.trials)})
        noisy = {
            str(name): (values + NOISE * float(values.std()) * _normal(rng, values.shape)).astype(values.dtype)
            for name, values in part.data_vars.items()
            if dim in values.dims and values.dtype.kind == "f" and unit.trials[-1] >= count
        }
        parts.append(part.assign(noisy))
    return parts


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Float[np.ndarray, "*_"]:
    return rng.standard_normal(shape, dtype=np.float32)
