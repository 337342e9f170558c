"""RSA over roles and layers: from activations and labels to correlations with their statistics (Figs 1c, 2, 6, 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from finst.analysis import rsa, rsm
from finst.analysis.rsa import Comparison
from finst.experiments.representations.roles import COMMAS, LAST
from finst.experiments.representations.spec import SimilaritySpec
from finst.experiments.units import documented

RECURRING = 4
"""Trials that a condition must have, on average, for a noise ceiling."""

INACTIVE = 1e-3
"""Heads whose output norm is below this share of the median head's are inactive: their cosines would compare the
directions of rounding errors and of what softmax leaves over."""

DOCUMENTATION = {
    "r": ("1", "Pearson correlation of the cosine RSM with the target RSM, over pairs of trials"),
    "p": ("1", "one-sided label-permutation p of r at this layer (and head)"),
    "p_fwer": ("1", "the same for the largest r over layers (and heads), of this role and comparison"),
    "ci_low": ("1", "lower end of the bootstrap interval of r, over trials"),
    "ci_high": ("1", "upper end of the bootstrap interval of r, over trials"),
    "ceiling_low": (
        "1",
        "lower noise ceiling: what the best target of cell and object would reach on other trials; nan "
        f"below {RECURRING} trials for each",
    ),
    "ceiling_high": ("1", "upper noise ceiling: what it would reach on the same trials"),
    "spearman": ("1", "Spearman correlation of the cosine RSM with the target RSM; nan for partial correlations"),
    "norm": ("1", "root mean square over trials of the norm of the head's output"),
}

Vectors = Float[np.ndarray, "place trial width"]
"""Activations of one role; a place is a layer, or a head in a layer."""


@dataclass(frozen=True, eq=False)
class _RoleStatistics:
    """One role's statistics at every place, before the tests."""

    draws: rsa.Draws
    spearman: Float[np.ndarray, "place comparison"]
    """NaN for partial correlations, and where the spec leaves rank correlations out."""
    norms: Float[np.ndarray, "place"]
    """Root mean square over trials."""


def targets_of(labels: xr.Dataset, frames: Mapping[str, str]) -> dict[str, rsm.Target]:
    """The paper's target RSMs of one role: position, features, colour and shape.

    ``frames`` says which positions: a target's name, and the label (``relative``, ``absolute``) that it is made of.
    """
    positions = {name: rsm.position(labels[frame].transpose("trial", "cell").values) for name, frame in frames.items()}
    colour, shape = (rsm.match(labels[name].values) for name in ("colour", "shape"))
    return {**positions, "features": rsm.mean_of([colour, shape]), "colour": colour, "shape": shape}


def correlations(
    spec: SimilaritySpec,
    data: xr.Dataset,
    labels: xr.Dataset,
    frames: Mapping[str, str],
    comparisons: Sequence[Comparison],
) -> xr.Dataset:
    """Every comparison at every role and layer of ``data`` (``activations``): dims role, layer, comparison.

    ``labels`` are those of ``labels_of``: each role has its own, since a comma is about the object before it.
    ``frames`` is that of ``targets_of``. The role ``commas`` is the mean over all commas; permutations and resamples
    are the same at all roles, so the mean has p values and intervals of its own. Activations of single heads give a dim
    head after layer, and the variable ``norm``.
    """
    roles = {
        role: _role_statistics(spec, data.sel(role=role), labels.sel(role=role), frames, comparisons)
        for role in data["role"].values.tolist()
    }
    commas = [statistics for role, statistics in roles.items() if role != LAST]
    if commas:
        last = {LAST: roles.pop(LAST)} if LAST in roles else {}
        roles |= {COMMAS: _mean_of(commas), **last}
    axes = {name: data[name].values for name in ("layer", "head") if name in data.dims}
    parts = [_tested(spec, axes, statistics) for statistics in roles.values()]
    summary = xr.concat(parts, xr.DataArray(list(roles), dims="role", name="role"), join="exact")
    return documented(summary, {str(name): DOCUMENTATION[str(name)] for name in summary.data_vars})


def _role_statistics(
    spec: SimilaritySpec,
    data: xr.Dataset,
    labels: xr.Dataset,
    frames: Mapping[str, str],
    comparisons: Sequence[Comparison],
) -> _RoleStatistics:
    """The statistics of one role; inactive heads have no correlations (NaN)."""
    vectors, targets = _vectors(data), targets_of(labels, frames)
    norms = np.linalg.norm(vectors, axis=-1)
    size = np.sqrt((norms**2).mean(axis=-1))
    active = np.ones(len(vectors), dtype=bool)
    if "head" in data.dims:
        active = (norms.min(axis=-1) > 0) & (size > INACTIVE * np.median(size))
    draws = rsa.draws(
        (vectors[place] for place in np.flatnonzero(active)),
        targets,
        comparisons,
        conditions=_recurring(_conditions(labels)),
        permutations=spec.permutations,
        resamples=spec.bootstraps,
        seed=spec.seed,
    )
    spearman = np.full((len(vectors), len(comparisons)), np.nan)
    if spec.spearman:
        columns = [column for column, comparison in enumerate(comparisons) if not comparison.given]
        plain = {comparisons[column].target: targets[comparisons[column].target] for column in columns}
        for place in np.flatnonzero(active):
            spearman[place, columns] = rsa.spearman(vectors[place], plain)
    return _RoleStatistics(draws.among(active), spearman, size)


def _vectors(data: xr.Dataset) -> Vectors:
    """Activations with layers, or layers and heads, as one axis."""
    heads = ["head"] if "head" in data.dims else []
    values = data["activations"].transpose("layer", *heads, "trial", ...).values
    return values.reshape(-1, *values.shape[-2:])


def _mean_of(roles: Sequence[_RoleStatistics]) -> _RoleStatistics:
    """The mean over roles, place by place."""
    return _RoleStatistics(
        rsa.Draws.mean([role.draws for role in roles]),
        np.mean([role.spearman for role in roles], axis=0),
        np.mean([role.norms for role in roles], axis=0),
    )


def _tested(spec: SimilaritySpec, axes: Mapping[str, np.ndarray], role: _RoleStatistics) -> xr.Dataset:
    """One role's statistics with their tests over all places: dims are those of ``axes``, and comparison."""
    tests = rsa.tested(role.draws, 1 - spec.alpha)
    shape = tuple(map(len, axes.values()))
    by_place = {name: getattr(tests, name) for name in ("ceiling_low", "ceiling_high")}
    by_place |= {"norm": role.norms} if "head" in axes else {}
    by_comparison = {name: getattr(tests, name) for name in ("r", "p", "p_fwer", "ci_low", "ci_high")}
    by_comparison["spearman"] = role.spearman
    return xr.Dataset(
        {
            **{name: (tuple(axes), values.reshape(shape)) for name, values in by_place.items()},
            **{name: ((*axes, "comparison"), values.reshape(*shape, -1)) for name, values in by_comparison.items()},
        },
        coords={**axes, "comparison": [comparison.name for comparison in role.draws.comparisons]},
    )


def _recurring(conditions: Int[np.ndarray, "trial"]) -> Int[np.ndarray, "trial"] | None:
    """None where most conditions are too rare for a noise ceiling, as where all objects are fresh."""
    return conditions if len(conditions) >= RECURRING * len(np.unique(conditions)) else None


def _conditions(labels: xr.Dataset) -> Int[np.ndarray, "trial"]:
    """The conditions of the noise ceiling: the object with both of its cells."""
    cells = [labels[name].transpose("trial", "cell").values for name in ("relative", "absolute")]
    _, places = np.unique(np.concatenate(cells, axis=1), axis=0, return_inverse=True)
    words = np.char.add(np.char.add(labels["colour"].values, " "), labels["shape"].values)
    _, objects = np.unique(words, return_inverse=True)
    return places.reshape(-1) * (objects.max() + 1) + objects
