"""Principal components of one token by layer, and how far labels separate in them (Fig 1b; May Fig 26)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int, Shaped

from finst.analysis.pca import pca
from finst.analysis.separability import probe, silhouette
from finst.errors import FinstError, choice
from finst.experiments.representations.activations import check_trials, example_of, record_trials, size_of
from finst.experiments.representations.report.pca_figures import plane_figures
from finst.experiments.representations.report.pca_findings import pca_findings
from finst.experiments.representations.roles import roles_of
from finst.experiments.representations.spec import PCASpec
from finst.experiments.representations.trials import Trial, labels_of, trial_of
from finst.experiments.units import documented, joined, spec_attrs, units_of
from finst.report.example import TrialExample
from finst.runs.experiment import Experiment, Report, Unit
from finst.runs.size import Size
from finst.scenes.sets import CENTRE, NAMED, QUADRANTS, frame_set, pca_set
from finst.vlm.open import VLM, Reader

LabelValues = Shaped[np.ndarray, "trial"]
"""The value of one label in each trial."""

VIEWS = {"pca": ("all objects",), "frame": ("all objects", "centre object")}
"""The selections of trials of each set that have components of their own; ``centre object``: target at the centre."""

BLOCKS = {"pca": len(NAMED) ** 2, "frame": len(QUADRANTS) * 4**2}
"""Trials of a block of each set: consecutive, with every object in every cell (of every arrangement) once."""

ATTRS = {"title": "Principal components by layer", "paper": "arXiv 2506.15871, Fig 1b; update of May 2026, Fig 26"}

DOCUMENTATION = {
    "score": ("1", "component of the centred activations, in their own unit; nan for trials outside of the view"),
    "explained": ("1", "share of the variance"),
    "probe": ("1", "held-out accuracy of a linear probe on the first components"),
    "probe_low": ("1", "lower end of its Wilson interval"),
    "probe_high": ("1", "upper end of its Wilson interval"),
    "chance": ("1", "share of the most frequent label"),
    "plane_probe": ("1", "the same probe on the first two components"),
    "value": ("1", "what the label is in each trial; cells are counted in reading order, three a row"),
    "silhouette": ("1", "mean silhouette of the labels in the plane of the first two components"),
}

SEPARABILITY = ("probe", "probe_low", "probe_high", "chance", "plane_probe", "silhouette")
"""The variables that say how far a label separates: dims view, layer, label."""


class PCA(Experiment[PCASpec]):
    """Principal components by layer, and how far position and features separate in them (Fig 1b; May Fig 26)."""

    name = "pca"
    spec = PCASpec
    report = Report(plane_figures, pca_findings)
    statistic = "plane_probe"

    def check(self, spec: PCASpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, an unknown role, an unsuitable picture, or too few trials."""
        spec.check()
        trial = trials_of(spec, 1)[0]
        roles = roles_of(len(trial.labels))
        if spec.role not in roles:
            raise choice("role", spec.role, roles)
        check_trials(spec, reader, trial)
        if spec.trials < 2:
            raise FinstError(
                f"trials is {spec.trials}: expected at least 2, so that probes are tested on other blocks than trained"
            )

    def size(self, spec: PCASpec, reader: Reader) -> Size:
        """Activations of every trial at the role."""
        return size_of(spec, reader, BLOCKS[spec.set] * spec.trials, 1)

    def plan(self, spec: PCASpec) -> tuple[Unit, ...]:
        """``trials_per_unit`` consecutive trials a unit."""
        return units_of(BLOCKS[spec.set] * spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: PCASpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        """Activations at the role: dims trial, layer, role, d_model."""
        design = trials_of(spec, spec.trials)
        trials = {index: design[index] for index in unit.trials}
        return record_trials(vlm, spec, trials, [spec.role]).data.assign_attrs(ATTRS)

    def summarise(self, spec: PCASpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims view, trial, layer, component (1, 2), label: planes, variance explained, and how far labels separate."""
        data = joined(parts).sel(role=spec.role, drop=True)
        labels = labels_of(trials_of(spec, spec.trials), [spec.role]).sel(role=spec.role, drop=True)
        values = label_values(labels)
        activations = data["activations"].transpose("layer", "trial", "d_model").values
        at_centre = (labels["absolute"].transpose("trial", "cell").values == CENTRE).all(axis=1)
        selections = {"all objects": np.ones(len(at_centre), dtype=bool), "centre object": at_centre}
        views = [_view(spec, activations, selections[name], values) for name in VIEWS[spec.set]]
        summary = xr.concat(views, xr.DataArray(list(VIEWS[spec.set]), dims="view", name="view"), join="exact")
        summary = summary.assign_coords(layer=data["layer"].values, trial=data["trial"].values)
        summary["value"] = (("trial", "label"), np.stack(list(values.values()), axis=1))
        documented(summary, DOCUMENTATION)
        return summary.merge(labels).assign(exact=data["exact"]).assign_attrs({**ATTRS, **spec_attrs(spec)})

    def example(self, spec: PCASpec, reader: Reader) -> TrialExample:
        """The design's first trial."""
        return example_of(reader, trials_of(spec, 1)[0], [spec.role])


def label_values(labels: xr.Dataset) -> dict[str, LabelValues]:
    """Every label's value in each trial; labels that divide the trials in the same way are merged into one."""
    cells = {name: labels[name].transpose("trial", "cell").values for name in ("relative", "absolute")}
    separate = {f"{name} position": np.char.mod("%d", at[:, 0] * 3 + at[:, 1]) for name, at in cells.items()}
    separate |= {name: labels[name].values for name in ("colour", "shape")}
    merged: dict[str, LabelValues] = {}
    for name, values in separate.items():
        twin = next((other for other in merged if _same_division(merged[other], values)), None)
        if twin is None:
            merged[name] = values
        else:
            merged = {_merged_name(twin, name) if other == twin else other: merged[other] for other in merged}
    return merged


def _same_division(first: LabelValues, second: LabelValues) -> bool:
    return len(set(zip(first, second, strict=True))) == len(set(first)) == len(set(second))


def _merged_name(first: str, second: str) -> str:
    return "position" if second == "absolute position" else f"{first} and {second}"


def _view(
    spec: PCASpec,
    activations: Float[np.ndarray, "layer trial d_model"],
    selected: Bool[np.ndarray, "trial"],
    labels: Mapping[str, LabelValues],
) -> xr.Dataset:
    """Components of the selected trials at every layer, and how far every label separates (nan for a constant one).

    Dims layer, trial, component (1, 2), label.
    """
    points = activations[:, selected]
    components = pca(points, min(spec.components, points.shape[1] - 1, points.shape[2]))
    planes = np.full((*activations.shape[:2], 2), np.nan)
    planes[:, selected] = components.scores[..., :2]
    blocks = np.flatnonzero(selected) // BLOCKS[spec.set]
    separability = {name: np.full((len(activations), len(labels)), np.nan) for name in SEPARABILITY}
    for layer, scores in enumerate(components.scores):
        for column, values in enumerate(labels.values()):
            if len(set(values[selected])) > 1:
                for name, value in _separability(spec, scores, values[selected], blocks).items():
                    separability[name][layer, column] = value
    return xr.Dataset(
        {
            "score": (("layer", "trial", "component"), planes),
            "explained": (("layer", "component"), components.explained[:, :2]),
            **{name: (("layer", "label"), values) for name, values in separability.items()},
        },
        coords={"component": [1, 2], "label": list(labels)},
    )


def _separability(
    spec: PCASpec,
    scores: Float[np.ndarray, "trial component"],
    labels: LabelValues,
    blocks: Int[np.ndarray, "trial"],
) -> dict[str, float]:
    """The variables of ``SEPARABILITY`` for one layer and label; folds of the probes are whole blocks."""
    plane = scores[:, :2]
    by_all, by_plane = (
        probe(points, labels, groups=blocks, confidence=1 - spec.alpha, seed=spec.seed) for points in (scores, plane)
    )
    return {
        "probe": by_all.accuracy,
        "probe_low": by_all.ci_low,
        "probe_high": by_all.ci_high,
        "chance": by_all.chance,
        "plane_probe": by_plane.accuracy,
        "silhouette": silhouette(plane, labels),
    }


@lru_cache(maxsize=1)
def trials_of(spec: PCASpec, per_pair: int) -> list[Trial]:
    """The design with ``per_pair`` trials for every pair of object and cell."""
    scenes = pca_set if spec.set == "pca" else frame_set
    return [trial_of(spec, staged) for staged in scenes(per_pair, spec.seed)]
