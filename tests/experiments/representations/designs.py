"""Made-up activations of the representational designs: real trials and labels, and signals planted in chosen layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from finst.experiments.representations.roles import roles_of
from finst.experiments.representations.trials import Trial, labels_of

LAYERS, WIDTH = 4, 40

Planted = Mapping[tuple[str, str], int]
"""For (role, label), the only layer in which that role's activations hold the label."""


def unit(trials: Sequence[Trial], planted: Planted, roles: Sequence[str] | None = None, seed: int = 0) -> xr.Dataset:
    """All trials as one unit; noise, and in the planted layers a direction for every value of the label."""
    rng = np.random.default_rng(seed)
    roles = list(roles or roles_of(len(trials[0].labels)))
    labels = labels_of(trials, roles)
    values = rng.normal(size=(len(trials), LAYERS, len(roles), WIDTH)).astype(np.float32)
    for (role, name), layer in planted.items():
        label = labels[name].sel(role=role)
        rows = label.values if label.ndim == 1 else label.transpose("trial", "cell").values
        _, index = np.unique(rows, axis=0, return_inverse=True)
        directions = rng.normal(size=(index.max() + 1, WIDTH)) * 2
        if label.ndim == 2:  # cells that are near each other get similar activations
            directions = (rows - rows.mean(0)) @ rng.normal(size=(2, WIDTH)) * 2
            index = np.arange(len(trials))
        values[:, layer, roles.index(role)] += directions[index.reshape(-1)].astype(np.float32)
    return xr.Dataset(
        {
            "activations": (("trial", "layer", "role", "d_model"), values),
            "predicted_token": ("trial", np.zeros(len(trials), dtype=np.int64)),
            "exact": ("trial", np.arange(len(trials)) % 4 > 0),
        },
        coords={"trial": np.arange(len(trials)), "layer": np.arange(LAYERS), "role": roles},
    )


def heads_unit(
    trials: Sequence[Trial], planted: Mapping[str, tuple[int, int]], inactive: tuple[int, int]
) -> xr.Dataset:
    """All trials as one unit of three layers with four heads: noise, and position at each role's planted head.

    ``planted`` has (layer, head) for ``commas`` and ``last``. The outputs of the head ``inactive`` are rounding errors.
    """
    roles = roles_of(len(trials[0].labels))
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(trials), 3, len(roles), 4, 6)).astype(np.float32)
    cells = labels_of(trials, roles)["absolute"].transpose("role", "trial", "cell").values
    for place, role in enumerate(roles):
        layer, head = planted[role if role == "last" else "commas"]
        values[:, layer, place, head] += (cells[place] - cells[place].mean(axis=0)) @ rng.normal(size=(2, 6)) * 4
    values[:, inactive[0], :, inactive[1]] *= 1e-7
    return xr.Dataset(
        {
            "activations": (("trial", "layer", "role", "head", "d_head"), values),
            "exact": ("trial", np.ones(len(trials), dtype=bool)),
        },
        coords={"trial": np.arange(len(trials)), "layer": np.arange(3), "role": list(roles)},
    )
