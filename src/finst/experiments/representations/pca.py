"""Principal components of the last token by layer: what separates in the plane of two (Fig 1b; May Fig 26)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import xarray as xr

from finst.analysis.pca import pca
from finst.analysis.separability import probe, silhouette
from finst.errors import FinstError, choice
from finst.experiments.representations.activations import check_trials, recorded, shown_trial
from finst.experiments.representations.pca_figures import plane_figures
from finst.experiments.representations.rsa_findings import pca_findings
from finst.experiments.representations.spec import PCASpec
from finst.experiments.representations.trials import Trial, labelled, roles_of, trial_of
from finst.experiments.units import check_numbers, joined, units_of
from finst.report.example import TrialExample
from finst.runs.experiment import Experiment, Report, Unit
from finst.scenes.sets import CENTRE, NAMED, QUADRANTS, frame_set, pca_set
from finst.vlm.open import VLM, Reader

VIEWS = {"pca": ("all objects",), "frame": ("all objects", "centre object")}
"""Of each set: the trials that components are computed of; ``centre object``: those whose object is at the centre."""

BLOCKS = {"pca": len(NAMED) ** 2, "frame": len(QUADRANTS) * 4**2}
"""Of each set: consecutive trials in which every object is in every cell once (in every arrangement)."""

ATTRS = {"title": "Principal components by layer", "paper": "arXiv 2506.15871, Fig 1b; update of May 2026, Fig 26"}

DOCUMENTATION = {
    "score": "component of the centred activations, in their own unit; nan for trials outside of the view",
    "explained": "share of the variance",
    "probe": "held-out accuracy of a linear probe on the first components",
    "probe_low": "lower end of its Wilson interval",
    "probe_high": "upper end of its Wilson interval",
    "chance": "share of the most frequent label",
    "plane_probe": "the same probe on the first two components",
    "value": "what the label is in each trial; cells are counted in reading order, three a row",
    "silhouette": "mean silhouette of the labels in the plane of the first two components",
}


class PCA(Experiment[PCASpec]):
    """The experiment."""

    name = "pca"
    spec = PCASpec
    report = Report(plane_figures, pca_findings)
    statistic = "plane_probe"

    def check(self, spec: PCASpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, an unknown role, an unsuitable picture, or too few trials."""
        check_numbers(spec, {"components": 2})
        trial = trials_of(spec, 1)[0]
        roles = roles_of(len(trial.labels))
        if spec.role not in roles:
            raise choice("role", spec.role, roles)
        check_trials(spec, reader, trial)
        if spec.trials < 2:
            raise FinstError(
                f"trials is {spec.trials}: expected at least 2, so that probes learn from one and are held to another"
            )

    def plan(self, spec: PCASpec) -> tuple[Unit, ...]:
        """``trials_per_unit`` consecutive trials a unit."""
        return units_of(BLOCKS[spec.set] * spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: PCASpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        """Activations at the role, all layers."""
        every = trials_of(spec, spec.trials)
        return recorded(vlm, spec, {index: every[index] for index in unit.trials}, [spec.role]).data.assign_attrs(ATTRS)

    def summarise(self, spec: PCASpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims view, trial, layer, component (1, 2), label: planes, variance explained, and how far labels separate."""
        data = joined(parts).sel(role=spec.role, drop=True)
        labels = labelled(trials_of(spec, spec.trials), [spec.role]).sel(role=spec.role, drop=True)
        columns = columns_of(labels)
        places = data["activations"].transpose("layer", "trial", "d_model").values
        at_centre = (labels["absolute"].transpose("trial", "cell").values == CENTRE).all(axis=1)
        views = {"all objects": np.ones(len(at_centre), dtype=bool), "centre object": at_centre}
        found = [_view(spec, places, views[name], columns) for name in VIEWS[spec.set]]
        whole = xr.concat(found, xr.DataArray(list(VIEWS[spec.set]), dims="view", name="view"), join="exact")
        whole = whole.assign_coords(layer=data["layer"].values, trial=data["trial"].values)
        whole["value"] = (("trial", "label"), np.stack(list(columns.values()), axis=1))
        for name, text in DOCUMENTATION.items():
            whole[name].attrs = {"units": "1", "long_name": text}
        return whole.merge(labels).assign(exact=data["exact"]).assign_attrs({**ATTRS, **asdict(spec)})

    def example(self, spec: PCASpec, reader: Reader) -> TrialExample:
        """The design's first trial."""
        return shown_trial(reader, trials_of(spec, 1)[0], [spec.role])


def columns_of(labels: xr.Dataset) -> dict[str, np.ndarray]:
    """One value a trial for every label; labels that divide the trials in the same way are one, under both names."""
    cells = {name: labels[name].transpose("trial", "cell").values for name in ("relative", "absolute")}
    every = {f"{name} position": np.char.mod("%d", at[:, 0] * 3 + at[:, 1]) for name, at in cells.items()}
    every |= {name: labels[name].values for name in ("colour", "shape")}
    merged: dict[str, np.ndarray] = {}
    for name, values in every.items():
        twin = next((known for known in merged if _same(merged[known], values)), None)
        if twin is None:
            merged[name] = values
        else:
            merged = {_both(twin, name) if known == twin else known: kept for known, kept in merged.items()}
    return merged


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    return len(set(zip(first, second, strict=True))) == len(set(first)) == len(set(second))


def _both(first: str, second: str) -> str:
    return "position" if second == "absolute position" else f"{first} and {second}"


def _view(spec: PCASpec, places: np.ndarray, chosen: np.ndarray, columns: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Components of the chosen trials at every layer, and for every label how far it separates (nan for a constant)."""
    taken = places[:, chosen]
    most = min(spec.components, taken.shape[1] - 1, taken.shape[2])
    found = pca(taken, most)
    scores = np.full((len(places), len(chosen), 2), np.nan)
    scores[:, chosen] = found.scores[..., :2]
    blocks = np.flatnonzero(chosen) // BLOCKS[spec.set]
    shape = (len(places), len(columns))
    measured = {name: np.full(shape, np.nan) for name in DOCUMENTATION if name not in ("score", "explained", "value")}
    for place, points in enumerate(found.scores):
        for column, values in enumerate(columns.values()):
            if len(set(values[chosen])) > 1:
                for name, value in _separated(spec, points, values[chosen], blocks).items():
                    measured[name][place, column] = value
    return xr.Dataset(
        {
            "score": (("layer", "trial", "component"), scores),
            "explained": (("layer", "component"), found.explained[:, :2]),
            **{name: (("layer", "label"), values) for name, values in measured.items()},
        },
        coords={"component": [1, 2], "label": list(columns)},
    )


def _separated(spec: PCASpec, points: np.ndarray, values: np.ndarray, blocks: np.ndarray) -> dict[str, float]:
    whole, plane = (
        probe(some, values, groups=blocks, confidence=1 - spec.alpha, seed=spec.seed)
        for some in (points, points[:, :2])
    )
    return {
        "probe": whole.accuracy,
        "probe_low": whole.ci_low,
        "probe_high": whole.ci_high,
        "chance": whole.chance,
        "plane_probe": plane.accuracy,
        "silhouette": silhouette(points[:, :2], values),
    }


def trials_of(spec: PCASpec, per_pair: int) -> list[Trial]:
    """The design with ``per_pair`` trials for every object and cell."""
    scenes = pca_set if spec.set == "pca" else frame_set
    return [trial_of(spec, one) for one in scenes(per_pair, spec.seed)]
