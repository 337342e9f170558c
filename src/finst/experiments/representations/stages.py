"""RSA of the stages: position and features at the commas and at the last token, by layer (Figs 1c and 14-19)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import xarray as xr

from finst.analysis.rsa import Comparison
from finst.experiments.representations.activations import check_trials, example_of, record_trials, size_of
from finst.experiments.representations.report.head_figures import head_figures
from finst.experiments.representations.report.rsa_figures import stage_figures
from finst.experiments.representations.report.rsa_findings import heads_findings, stages_findings
from finst.experiments.representations.roles import roles_of
from finst.experiments.representations.similarity import correlations
from finst.experiments.representations.spec import RSAStagesSpec
from finst.experiments.representations.trials import Trial, labels_of, trial_of
from finst.experiments.units import joined, spec_attrs, square, units_of
from finst.report.example import TrialExample
from finst.report.figures import NamedFigure
from finst.report.findings import Findings
from finst.runs.experiment import Experiment, Report, Unit
from finst.runs.size import Size
from finst.scenes.sets import unique_objects
from finst.vlm.open import VLM, Reader

COMPARISONS = (
    Comparison("position"),
    Comparison("features"),
    Comparison("position", "features"),
    Comparison("features", "position"),
    Comparison("colour"),
    Comparison("shape"),
)

ATTRS = {
    "title": "Representational similarity at the commas and at the last token",
    "paper": "arXiv 2506.15871, Figs 1c and 14-19",
}


def figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figures of a summary: curves over layers (Fig 1c), or maps of heads where it has a dim head."""
    return head_figures(summary) if "head" in summary.dims else stage_figures(summary)


def findings(summary: xr.Dataset) -> Findings:
    """The results of a summary: layers, or single heads where it has a dim head."""
    return heads_findings(summary) if "head" in summary.dims else stages_findings(summary)


class RSAStages(Experiment[RSAStagesSpec]):
    """RSA with position and features at every comma and at the last token (Figs 1c and 14-19)."""

    name = "rsa-stages"
    spec = RSAStagesSpec
    report = Report(figures, findings)
    statistic = "r"

    def check(self, spec: RSAStagesSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, an unsuitable picture, or commas that are no tokens."""
        spec.check()
        check_trials(spec, reader, trials_of(spec, 1)[0], heads=True)

    def size(self, spec: RSAStagesSpec, reader: Reader) -> Size:
        """Activations of every trial at all commas and the last token."""
        return size_of(spec, reader, count_of(spec), len(square(spec.grid).cells))

    def plan(self, spec: RSAStagesSpec) -> tuple[Unit, ...]:
        """``trials_per_unit`` consecutive trials a unit."""
        return units_of(count_of(spec), spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: RSAStagesSpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        """Activations at all commas and the last token: dims trial, layer, role, d_model (``z``: head, d_head)."""
        design = trials_of(spec, spec.trials)
        trials = {index: design[index] for index in unit.trials}
        return record_trials(vlm, spec, trials, roles_of(len(design[0].labels))).data.assign_attrs(ATTRS)

    def summarise(self, spec: RSAStagesSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Correlations with their statistics (dims role, layer, comparison); and ``exact``, trial by trial.

        The role ``commas`` is the mean over all commas. For the tensor ``z`` there is a dim head after layer.
        """
        data = joined(parts)
        labels = labels_of(trials_of(spec, spec.trials), data["role"].values.tolist())
        summary = correlations(spec, data, labels, {"position": "absolute"}, COMPARISONS)
        return summary.assign(exact=data["exact"]).assign_attrs({**ATTRS, **spec_attrs(spec)})

    def example(self, spec: RSAStagesSpec, reader: Reader) -> TrialExample:
        """The design's first trial."""
        return example_of(reader, trials_of(spec, 1)[0])


def count_of(spec: RSAStagesSpec) -> int:
    """The number of trials."""
    cells = len(square(spec.grid).cells)
    return spec.trials * (cells**2 if spec.arrangements == "counterbalanced" else math.factorial(min(cells, 4)))


@lru_cache(maxsize=1)
def trials_of(spec: RSAStagesSpec, per_pair: int) -> list[Trial]:
    """The design with ``per_pair`` trials for every pair of object and cell, or for every arrangement."""
    grid = square(spec.grid)
    design = unique_objects(grid, spec.entropy, per_pair, spec.seed, spec.objects, spec.arrangements)
    return [trial_of(spec, staged) for staged in design]
