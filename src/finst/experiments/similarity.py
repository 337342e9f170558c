"""RSA over roles and layers: from activations and labels to correlations with their statistics (Figs 1c, 2, 6, 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.analysis import rsa as similarity
from finst.analysis import rsm
from finst.analysis.rsa import Comparison
from finst.experiments.recorded import check_numbers
from finst.experiments.trials import TrialSpec

DOCUMENTATION = {
    "r": "Pearson correlation of the cosine RSM with the target RSM, over pairs of trials",
    "p": "one-sided label-permutation p of r at this layer",
    "p_fwer": "the same for the largest r over layers, of this role and comparison",
    "ci_low": "lower end of the bootstrap interval of r, over trials",
    "ci_high": "upper end of the bootstrap interval of r, over trials",
    "ceiling_low": "lower noise ceiling: what the best target of cell and object would reach on other trials",
    "ceiling_high": "upper noise ceiling: what it would reach on the same trials",
    "spearman": "Spearman correlation of the cosine RSM with the target RSM; nan for partial correlations",
}


@dataclass(frozen=True)
class SimilaritySpec(TrialSpec):
    """What all experiments of RSA share: the trials, and the statistics of correlations."""

    permutations: int = 1_000
    """Permutations of trials behind each p value."""
    bootstraps: int = 1_000
    """Resamples of trials behind each confidence interval."""
    alpha: float = 0.05
    """Family-wise error over layers; intervals have level 1 - alpha."""
    spearman: bool = True
    """Also rank correlations; they sort all pairs of trials at every layer and role."""


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

    Roles differ in their labels: a comma has those of the object before it.
    """
    parts = [
        _of_role(spec, data.sel(role=role), labels.sel(role=role), frames, comparisons)
        for role in data["role"].values.tolist()
    ]
    whole = xr.concat(parts, data["role"], join="exact")
    for name, text in DOCUMENTATION.items():
        whole[name].attrs = {"units": "1", "long_name": text}
    return whole


def _of_role(
    spec: SimilaritySpec,
    data: xr.Dataset,
    labels: xr.Dataset,
    frames: Mapping[str, str],
    comparisons: Sequence[Comparison],
) -> xr.Dataset:
    targets = targets_of(labels, frames)
    places = [values.values for values in data["activations"].transpose("layer", "trial", "d_model")]
    found = similarity.rsa(
        places,
        targets,
        comparisons,
        conditions=_conditions(labels),
        permutations=spec.permutations,
        resamples=spec.bootstraps,
        confidence=1 - spec.alpha,
        seed=spec.seed,
    )
    plain = {one.target: place for place, one in enumerate(comparisons) if not one.given}
    ranks = np.full(found.r.shape, np.nan)
    if spec.spearman:
        wanted = {name: targets[name] for name in plain}
        ranks[:, list(plain.values())] = [similarity.spearman(place, wanted) for place in places]
    of_place = {name: ("layer", getattr(found, name)) for name in ("ceiling_low", "ceiling_high")}
    of_pair = {name: getattr(found, name) for name in ("r", "p", "p_fwer", "ci_low", "ci_high")}
    return xr.Dataset(
        {**of_place, **{name: (("layer", "comparison"), v) for name, v in {**of_pair, "spearman": ranks}.items()}},
        coords={"layer": data["layer"].values, "comparison": [one.name for one in comparisons]},
    )


def _conditions(labels: xr.Dataset) -> np.ndarray:
    """What the noise ceiling is for: the object with both of its places."""
    cells = [labels[name].transpose("trial", "cell").values for name in ("relative", "absolute")]
    _, places = np.unique(np.concatenate(cells, axis=1), axis=0, return_inverse=True)
    words = np.char.add(np.char.add(labels["colour"].values, " "), labels["shape"].values)
    _, objects = np.unique(words, return_inverse=True)
    return places.reshape(-1) * (objects.max() + 1) + objects
