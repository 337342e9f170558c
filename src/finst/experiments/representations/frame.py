"""RSA of frames of reference: is position relative to the objects or to the canvas (Figs 2 and 26-28)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import xarray as xr

from finst.analysis.rsa import Comparison
from finst.experiments.representations.activations import check_trials, example_of, record_trials, size_of
from finst.experiments.representations.report.rsa_figures import frame_figures
from finst.experiments.representations.report.rsa_findings import frame_findings
from finst.experiments.representations.roles import LAST
from finst.experiments.representations.similarity import correlations
from finst.experiments.representations.spec import RSAFrameSpec
from finst.experiments.representations.trials import Trial, labels_of, trial_of
from finst.experiments.units import joined, spec_attrs, units_of
from finst.report.example import TrialExample
from finst.runs.experiment import Experiment, Report, Unit
from finst.runs.size import Size
from finst.scenes.sets import QUADRANTS, frame_set
from finst.vlm.open import VLM, Reader

COMPARISONS = (
    Comparison("relative"),
    Comparison("absolute"),
    Comparison("features"),
    Comparison("relative", "absolute"),
    Comparison("absolute", "relative"),
)

ATTRS = {
    "title": "Representational similarity with relative and absolute position",
    "paper": "arXiv 2506.15871, Figs 2 and 26-28",
}


class RSAFrame(Experiment[RSAFrameSpec]):
    """RSA with relative and absolute position at the last token (Figs 2 and 26-28)."""

    name = "rsa-frame"
    spec = RSAFrameSpec
    report = Report(frame_figures, frame_findings)
    statistic = "r"

    def check(self, spec: RSAFrameSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, an unsuitable picture, or commas that are no tokens."""
        spec.check()
        check_trials(spec, reader, trials_of(spec, 1)[0])

    def size(self, spec: RSAFrameSpec, reader: Reader) -> Size:
        """Activations of every trial at the last token."""
        return size_of(spec, reader, len(QUADRANTS) * 16 * spec.trials, 1)

    def plan(self, spec: RSAFrameSpec) -> tuple[Unit, ...]:
        """``trials_per_unit`` consecutive trials a unit."""
        return units_of(len(QUADRANTS) * 16 * spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: RSAFrameSpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        """Activations at the last token: dims trial, layer, role, d_model."""
        design = trials_of(spec, spec.trials)
        trials = {index: design[index] for index in unit.trials}
        return record_trials(vlm, spec, trials, [LAST]).data.assign_attrs(ATTRS)

    def summarise(self, spec: RSAFrameSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Correlations with their statistics (dims role, layer, comparison); and ``exact``, trial by trial."""
        data = joined(parts)
        labels = labels_of(trials_of(spec, spec.trials), [LAST])
        summary = correlations(spec, data, labels, {"relative": "relative", "absolute": "absolute"}, COMPARISONS)
        return summary.assign(exact=data["exact"]).assign_attrs({**ATTRS, **spec_attrs(spec)})

    def example(self, spec: RSAFrameSpec, reader: Reader) -> TrialExample:
        """The design's first trial."""
        return example_of(reader, trials_of(spec, 1)[0], [LAST])


@lru_cache(maxsize=1)
def trials_of(spec: RSAFrameSpec, per_pair: int) -> list[Trial]:
    """The design with ``per_pair`` trials for every pair of object and cell in every arrangement."""
    return [trial_of(spec, staged) for staged in frame_set(per_pair, spec.seed)]
