"""RSA over roles and layers: from activations and labels to correlations with their statistics (Figs 1c, 2, 6, 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from finst.analysis import rsa as similarity
from finst.analysis import rsm
from finst.analysis.rsa import Comparison
from finst.experiments.representations.spec import LAST, SimilaritySpec
from finst.experiments.representations.trials import COMMAS
from finst.experiments.units import check_numbers

RECURRING = 4
"""A noise ceiling asks for so many trials of a condition, on average."""

SILENT = 1e-3
"""Heads whose output is smaller than so many times the median head's say nothing: cosines would compare the direction
of what softmax and rounding leave over."""

DOCUMENTATION = {
    "r": "Pearson correlation of the cosine RSM with the target RSM, over pairs of trials",
    "p": "one-sided label-permutation p of r at this layer (and head)",
    "p_fwer": "the same for the largest r over layers (and heads), of this role and comparison",
    "ci_low": "lower end of the bootstrap interval of r, over trials",
    "ci_high": "upper end of the bootstrap interval of r, over trials",
    "ceiling_low": "lower noise ceiling: what the best target of cell and object would reach on other trials; nan "
    f"below {RECURRING} trials for each",
    "ceiling_high": "upper noise ceiling: what it would reach on the same trials",
    "spearman": "Spearman correlation of the cosine RSM with the target RSM; nan for partial correlations",
    "norm": "root mean square over trials of the norm of the head's output",
}


def check_statistics(spec: SimilaritySpec) -> None:
    """Raises FinstError for numbers out of range."""
    check_numbers(spec, {"permutations": 1, "bootstraps": 1})


def targets_of(labels: xr.Dataset, frames: Mapping[str, str]) -> dict[str, rsm.Target]:
    """The paper's target RSMs of one role: position in ``frames`` (target's name: label's), features, and parts."""
    positions = {name: rsm.position(labels[frame].transpose("trial", "cell").values) for name, frame in frames.items()}
    colour, shape = (rsm.match(labels[name].values) for name in ("colour", "shape"))
    return {**positions, "features": rsm.mean_of([colour, shape]), "colour": colour, "shape": shape}


def correlated(
    spec: SimilaritySpec,
    data: xr.Dataset,
    labels: xr.Dataset,
    frames: Mapping[str, str],
    comparisons: Sequence[Comparison],
) -> xr.Dataset:
    """Dims role, layer, comparison: every comparison at every role and layer of ``data`` (activations).

    Roles differ in their labels: a comma has those of the object before it. The role ``commas`` is the mean over them:
    permutations and resamples are the same at all roles, so the mean has its own p values and intervals. Activations of
    single heads give a dim head after layer, and the variable ``norm``.
    """
    found: dict[str, tuple[similarity.Draws, np.ndarray, np.ndarray]] = {}
    for role in data["role"].values.tolist():
        places = _places(data.sel(role=role))
        found[role] = _drawn(spec, places, labels.sel(role=role), frames, comparisons, silent="head" in data.dims)
    told = [found[role] for role in found if role != LAST]
    if told:
        draws, ranks, norms = zip(*told, strict=True)
        last = {LAST: found.pop(LAST)} if LAST in found else {}
        found |= {COMMAS: (similarity.Draws.mean(draws), np.mean(ranks, axis=0), np.mean(norms, axis=0)), **last}
    axes = {name: data[name].values for name in ("layer", "head") if name in data.dims}
    parts = [_statistics(spec, axes, *of_role) for of_role in found.values()]
    whole = xr.concat(parts, xr.DataArray(list(found), dims="role", name="role"), join="exact")
    for name in whole.data_vars:
        whole[name].attrs = {"units": "1", "long_name": DOCUMENTATION[str(name)]}
    return whole


def _places(data: xr.Dataset) -> Float[np.ndarray, "place trial width"]:
    """Layers, or layers and heads, as one axis."""
    single = "head" in data.dims
    values = data["activations"].transpose("layer", *(["head"] if single else []), "trial", ...).values
    return values.reshape(-1, *values.shape[-2:])


def _drawn(
    spec: SimilaritySpec,
    places: Float[np.ndarray, "place trial width"],
    labels: xr.Dataset,
    frames: Mapping[str, str],
    comparisons: Sequence[Comparison],
    *,
    silent: bool,
) -> tuple[similarity.Draws, Float[np.ndarray, "place comparison"], Float[np.ndarray, "place"]]:
    """Of one role; and rank correlations and norms. Places may be ``silent``: they have no correlations."""
    targets = targets_of(labels, frames)
    norms = np.linalg.norm(places, axis=-1)
    size = np.sqrt((norms**2).mean(axis=-1))
    known = (norms.min(axis=-1) > 0) & (size > SILENT * np.median(size)) if silent else np.ones(len(places), dtype=bool)
    found = similarity.draws(
        (places[place] for place in np.flatnonzero(known)),
        targets,
        comparisons,
        conditions=_recurring(_conditions(labels)),
        permutations=spec.permutations,
        resamples=spec.bootstraps,
        seed=spec.seed,
    )
    plain = {one.target: place for place, one in enumerate(comparisons) if not one.given}
    ranks = np.full((len(places), len(comparisons)), np.nan)
    if spec.spearman:
        wanted = {name: targets[name] for name in plain}
        for place in np.flatnonzero(known):
            ranks[place, list(plain.values())] = similarity.spearman(places[place], wanted)
    return found.among(known), ranks, size


def _statistics(
    spec: SimilaritySpec,
    axes: Mapping[str, np.ndarray],
    draws: similarity.Draws,
    ranks: Float[np.ndarray, "place comparison"],
    norms: Float[np.ndarray, "place"],
) -> xr.Dataset:
    """On the map of all places."""
    found = similarity.tested(draws, 1 - spec.alpha)
    shape = tuple(map(len, axes.values()))
    of_place = {name: getattr(found, name) for name in ("ceiling_low", "ceiling_high")}
    of_place |= {"norm": norms} if "head" in axes else {}
    of_pair = {name: getattr(found, name) for name in ("r", "p", "p_fwer", "ci_low", "ci_high")}
    return xr.Dataset(
        {
            **{name: (tuple(axes), values.reshape(shape)) for name, values in of_place.items()},
            **{
                name: ((*axes, "comparison"), values.reshape(*shape, -1))
                for name, values in {**of_pair, "spearman": ranks}.items()
            },
        },
        coords={**axes, "comparison": [one.name for one in draws.comparisons]},
    )


def _recurring(conditions: np.ndarray) -> np.ndarray | None:
    """None where most conditions are too rare for their means to bound anything, as where all objects are fresh."""
    return conditions if len(conditions) >= RECURRING * len(np.unique(conditions)) else None


def _conditions(labels: xr.Dataset) -> np.ndarray:
    """What the noise ceiling is for: the object with both of its places."""
    cells = [labels[name].transpose("trial", "cell").values for name in ("relative", "absolute")]
    _, places = np.unique(np.concatenate(cells, axis=1), axis=0, return_inverse=True)
    words = np.char.add(np.char.add(labels["colour"].values, " "), labels["shape"].values)
    _, objects = np.unique(words, return_inverse=True)
    return places.reshape(-1) * (objects.max() + 1) + objects
