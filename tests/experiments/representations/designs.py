"""The representational analyses on made-up activations: real designs, labels and tokens, and places planted at will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from finst.experiments.representations.trials import Trial, labelled, roles_of

LAYERS, WIDTH = 4, 40

Planted = Mapping[tuple[str, str], int]
"""Of (role, label), the one layer in which that role's activations hold the label."""


def unit(trials: Sequence[Trial], planted: Planted, roles: Sequence[str] | None = None, seed: int = 0) -> xr.Dataset:
    """All trials as one unit; noise, and in the planted layers a direction for every value of the label."""
    rng = np.random.default_rng(seed)
    roles = list(roles or roles_of(len(trials[0].labels)))
    labels = labelled(trials, roles)
    values = rng.normal(size=(len(trials), LAYERS, len(roles), WIDTH)).astype(np.float32)
    for (role, name), layer in planted.items():
        found = labels[name].sel(role=role)
        rows = found.values if found.ndim == 1 else found.transpose("trial", "cell").values
        _, index = np.unique(rows, axis=0, return_inverse=True)
        directions = rng.normal(size=(index.max() + 1, WIDTH)) * 2
        if found.ndim == 2:  # places that are near each other look alike
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
