"""RSA of the stages: position and features at the commas and at the last token, by layer (Figs 1c and 14-19)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import xarray as xr

from finst.analysis.rsa import Comparison
from finst.experiments.representations.activations import check_trials, recorded, shown_trial
from finst.experiments.representations.head_figures import head_figures
from finst.experiments.representations.rsa_figures import stage_figures
from finst.experiments.representations.rsa_findings import heads_findings, stages_findings
from finst.experiments.representations.similarity import check_statistics, correlated
from finst.experiments.representations.spec import RSAStagesSpec
from finst.experiments.representations.trials import Trial, labelled, roles_of, square, trial_of
from finst.experiments.units import joined, units_of
from finst.report.example import TrialExample
from finst.report.figures import NamedFigure
from finst.report.findings import Findings
from finst.runs.experiment import Experiment, Report, Unit
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
    """The stages (Fig 1c), every role by itself, and partial correlations; or maps of heads."""
    return head_figures(summary) if "head" in summary.dims else stage_figures(summary)


def findings(summary: xr.Dataset) -> Findings:
    """Of layers, or of single heads."""
    return heads_findings(summary) if "head" in summary.dims else stages_findings(summary)


class RSAStages(Experiment[RSAStagesSpec]):
    """The experiment."""

    name = "rsa-stages"
    spec = RSAStagesSpec
    report = Report(figures, findings)
    statistic = "r"

    def check(self, spec: RSAStagesSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, an unsuitable picture, or commas that are no tokens."""
        check_statistics(spec)
        check_trials(spec, reader, trials_of(spec, 1)[0], heads=True)

    def plan(self, spec: RSAStagesSpec) -> tuple[Unit, ...]:
        """``trials_per_unit`` consecutive trials a unit."""
        return units_of(len(trials_of(spec, spec.trials)), spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: RSAStagesSpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        """Activations at all commas and the last token, all layers (of ``z``: and all heads)."""
        every = trials_of(spec, spec.trials)
        trials = {index: every[index] for index in unit.trials}
        return recorded(vlm, spec, trials, roles_of(len(every[0].labels))).data.assign_attrs(ATTRS)

    def summarise(self, spec: RSAStagesSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims role, layer, comparison: correlations with their statistics (see ``similarity``); and accuracy.

        The role ``commas`` is the mean over all of them. Of ``z`` there is a dim head, too.
        """
        data = joined(parts)
        labels = labelled(trials_of(spec, spec.trials), data["role"].values.tolist())
        found = correlated(spec, data, labels, {"position": "absolute"}, COMPARISONS)
        return found.assign(exact=data["exact"]).assign_attrs({**ATTRS, **asdict(spec)})

    def example(self, spec: RSAStagesSpec, reader: Reader) -> TrialExample:
        """The design's first trial."""
        return shown_trial(reader, trials_of(spec, 1)[0])


def trials_of(spec: RSAStagesSpec, per_pair: int) -> list[Trial]:
    """The design with ``per_pair`` trials for every object and cell, or of every arrangement."""
    grid = square(spec.grid)
    design = unique_objects(grid, spec.entropy, per_pair, spec.seed, spec.objects, spec.arrangements)
    return [trial_of(spec, one) for one in design]
