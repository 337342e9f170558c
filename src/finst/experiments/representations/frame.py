"""RSA of frames of reference: is position relative to the objects or to the canvas (Figs 2 and 26-28)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import xarray as xr

from finst.analysis.rsa import Comparison
from finst.experiments.representations.activations import check_trials, recorded, shown_trial
from finst.experiments.representations.rsa_figures import frame_figures
from finst.experiments.representations.rsa_findings import frame_findings
from finst.experiments.representations.similarity import check_statistics, correlated
from finst.experiments.representations.spec import LAST, RSAFrameSpec
from finst.experiments.representations.trials import Trial, labelled, trial_of
from finst.experiments.units import joined, units_of
from finst.report.example import TrialExample
from finst.runs.experiment import Experiment, Report, Unit
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
    """The experiment."""

    name = "rsa-frame"
    spec = RSAFrameSpec
    report = Report(frame_figures, frame_findings)
    statistic = "r"

    def check(self, spec: RSAFrameSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, an unsuitable picture, or commas that are no tokens."""
        check_statistics(spec)
        check_trials(spec, reader, trials_of(spec, 1)[0])

    def plan(self, spec: RSAFrameSpec) -> tuple[Unit, ...]:
        """``trials_per_unit`` consecutive trials a unit."""
        return units_of(len(QUADRANTS) * 16 * spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: RSAFrameSpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        """Activations at the last token, all layers."""
        every = trials_of(spec, spec.trials)
        return recorded(vlm, spec, {index: every[index] for index in unit.trials}, [LAST]).data.assign_attrs(ATTRS)

    def summarise(self, spec: RSAFrameSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims role, layer, comparison: correlations with their statistics (see ``similarity``); and accuracy."""
        data = joined(parts)
        labels = labelled(trials_of(spec, spec.trials), [LAST])
        found = correlated(spec, data, labels, {"relative": "relative", "absolute": "absolute"}, COMPARISONS)
        return found.assign(exact=data["exact"]).assign_attrs({**ATTRS, **asdict(spec)})

    def example(self, spec: RSAFrameSpec, reader: Reader) -> TrialExample:
        """The design's first trial."""
        return shown_trial(reader, trials_of(spec, 1)[0], [LAST])


def trials_of(spec: RSAFrameSpec, per_pair: int) -> list[Trial]:
    """The design with ``per_pair`` trials for every arrangement, object and cell."""
    return [trial_of(spec, one) for one in frame_set(per_pair, spec.seed)]
