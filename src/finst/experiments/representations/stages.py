"""RSA of the stages: position and features at the commas and at the last token, by layer (Figs 1c and 14-19)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import xarray as xr

from finst.analysis.rsa import Comparison
from finst.experiments.representations.activations import check_trials, recorded, shown_trial
from finst.experiments.representations.head_figures import head_figures
from finst.experiments.representations.rsa_figures import stage_figures
from finst.experiments.representations.rsa_findings import heads_account, stages_account
from finst.experiments.representations.similarity import SimilaritySpec, check_statistics, correlated
from finst.experiments.representations.trials import Trial, labelled, roles_of, square, trial_of
from finst.experiments.units import joined, units_of
from finst.report.example import Shown
from finst.report.figures import NamedFigure
from finst.report.findings import Account
from finst.runs.experiment import Unit
from finst.scenes.designs import Entropy
from finst.scenes.sets import Arrangements, Objects, unique_objects
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


@dataclass(frozen=True)
class RSAStagesSpec(SimilaritySpec):
    """RSA of the residual stream with position and features, at commas and last token, by layer (Figs 1c, 14-19).

    With --tensor z of every head's output: a map of layers and heads, which takes as many times longer as a layer has
    heads (--no-spearman saves half of it).

    The default, 8 trials a pair (648), takes a minute on two cores with the built-in model; the paper's base design is
    --trials 50 on 3x3 (4,050) or --trials 100 --grid 2x2 (1,600).
    """

    grid: str = "3x3"
    """2x2 or 3x3: as many objects as cells."""
    objects: Objects = "same"
    """same: all trials show the same objects (the paper's design), so that the described ones tell, without the
    picture, which one is missing; fresh: every trial shows objects of its own (with --entropy any, the described ones
    then tell next to nothing about the target)."""
    arrangements: Arrangements = "counterbalanced"
    """counterbalanced: every object in every cell equally often at every step of the sentence, --trials times (the
    paper's); all: all 24 arrangements of four objects, --trials times, as a public reproduction did once."""
    entropy: Entropy = "high"
    """high: objects as distinct as possible; low: all conjunctions of few values; any: any distinct conjunctions."""


class RSAStages:
    """The experiment; it has no state."""

    name = "rsa-stages"

    def check(self, spec: RSAStagesSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, an unsuitable picture, or commas that are no tokens."""
        check_statistics(spec)
        check_trials(spec, reader, trials_of(spec, 1)[0], heads=True)

    def plan(self, spec: RSAStagesSpec) -> tuple[Unit, ...]:
        """``trials_per_unit`` consecutive trials a unit."""
        return units_of(len(trials_of(spec, spec.trials)), spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: RSAStagesSpec, unit: Unit) -> xr.Dataset:
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

    def draw(self, summary: xr.Dataset) -> tuple[NamedFigure, ...]:
        """The stages (Fig 1c), every role by itself, and partial correlations; or maps of heads."""
        return head_figures(summary) if "head" in summary.dims else stage_figures(summary)

    def account(self, summary: xr.Dataset) -> Account:
        """What was found, in words."""
        return heads_account(summary) if "head" in summary.dims else stages_account(summary)

    def example(self, spec: RSAStagesSpec, reader: Reader) -> Shown:
        """The design's first trial."""
        return shown_trial(reader, trials_of(spec, 1)[0])


def trials_of(spec: RSAStagesSpec, per_pair: int) -> list[Trial]:
    """The design with ``per_pair`` trials for every object and cell, or of every arrangement."""
    grid = square(spec.grid)
    design = unique_objects(grid, spec.entropy, per_pair, spec.seed, spec.objects, spec.arrangements)
    return [trial_of(spec, one) for one in design]
