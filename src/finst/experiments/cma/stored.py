"""A stored run of causal mediation as arrays, for verification and interventions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float

from finst.errors import FinstError
from finst.experiments.cma.design import COLOURS, CONDITIONS
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.cma.spec import CMASpec
from finst.runs.finished import manifest_of, stored_units
from finst.runs.manifest import Manifest, ModelRecord
from finst.runs.spec import from_json
from finst.runs.store import RunFolder


@dataclass(frozen=True, eq=False)
class StoredMediation:
    """The measured units of a run, finished or not; logits and scores in logits."""

    path: Path
    spec: CMASpec
    model: ModelRecord
    pairs: tuple[int, ...]
    """The measured pairs, as indices into the design."""
    patched: Float[np.ndarray, "pair condition layer head colour"]
    unedited: Float[np.ndarray, "pair condition colour"]
    scores: Float[np.ndarray, "pair condition layer head"]
    noise: float
    """The largest recorded numerical noise of a score, in logits."""


def stored_mediation(path: Path) -> StoredMediation:
    """The measured units of the run in the folder ``path``.

    Raises FinstError when the folder holds no run of causal mediation, a finished run lacks a unit, or one is damaged.
    """
    manifest = _manifest(path)
    spec = from_json(CMASpec, manifest.spec)
    folder = RunFolder(path, manifest.experiment, manifest.spec)
    parts = [_arrays(folder, index) for index in stored_units(path, manifest)]
    try:
        pairs, patched, unedited, scores, noise = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    except ValueError as cause:
        raise FinstError(f"{path} is damaged: its units do not fit each other ({cause})") from cause
    if len(set(pairs.tolist())) < len(pairs) or not set(pairs.tolist()) <= set(range(spec.pairs)):
        raise FinstError(f"{path} is damaged: its units do not hold each of the pairs 0..{spec.pairs - 1} once")
    return StoredMediation(
        path, spec, manifest.model, tuple(pairs.tolist()), patched, unedited, scores, float(noise.max())
    )


def _arrays(folder: RunFolder, index: int) -> tuple[np.ndarray, ...]:
    """The pairs of a unit, their patched and unedited logits, scores and noise, with axes as in ``StoredMediation``."""
    try:
        unit: xr.Dataset = folder.read_unit(index)
        part = unit.sel(condition=list(CONDITIONS), colour=list(COLOURS))
        # Runs made before the choice of readout have only the last token's.
        unedited = part["unedited_logits"].broadcast_like(part["patched_logits"].isel(layer=0, head=0, drop=True))
        part = part.assign(unedited_logits=unedited)
        dims = {
            "patched_logits": ("pair", "condition", "layer", "head", "colour"),
            "unedited_logits": ("pair", "condition", "colour"),
            "score": ("pair", "condition", "layer", "head"),
            "noise": ("pair", "condition"),
        }
        return (part["pair"].values, *(part[name].transpose(*axes).values for name, axes in dims.items()))
    except (KeyError, ValueError, OSError) as cause:
        raise FinstError(
            f"{folder.unit_path(index)} is damaged: expected the numbers of causal mediation ({cause})"
        ) from cause


def head_maps(path: Path) -> HeadMaps:
    """The maps of the finished run in the folder ``path``.

    Raises FinstError when the folder holds no finished run of causal mediation.
    """
    manifest = _manifest(path)
    if manifest.status != "finished":
        raise FinstError(f"{path} holds a run that is not finished: let finst run cma finish it first")
    summary = RunFolder(path, manifest.experiment, manifest.spec).read_summary()
    try:
        return HeadMaps.of(summary, manifest.model.hash)
    except (KeyError, ValueError) as cause:
        raise FinstError(f"{path} is damaged: its summary lacks the maps of causal mediation ({cause})") from cause


def _manifest(path: Path) -> Manifest:
    manifest = manifest_of(path)
    if manifest.experiment != "cma":
        raise FinstError(f"{path} holds a run of {manifest.experiment!r}: expected one of causal mediation ('cma')")
    return manifest
