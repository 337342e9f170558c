"""RSA of frames of reference: is position relative to the objects or to the canvas (Figs 2 and 26-28)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import xarray as xr

from finst.analysis.rsa import Comparison
from finst.experiments.representations.activations import check_trials, recorded, shown_trial
from finst.experiments.representations.rsa_figures import frame_figures
from finst.experiments.representations.rsa_findings import frame_account
from finst.experiments.representations.similarity import SimilaritySpec, check_statistics, correlated
from finst.experiments.representations.trials import LAST, Trial, labelled, trial_of
from finst.experiments.units import joined, units_of
from finst.report.example import Shown
from finst.report.figures import NamedFigure
from finst.report.findings import Account
from finst.runs.experiment import Unit
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


@dataclass(frozen=True)
class RSAFrameSpec(SimilaritySpec):
    """RSA of the last token with relative cell, absolute cell and features, on the frame set (Figs 2, 26-28).

    Four 2x2 arrangements on a 3x3 lattice, 16 pairs of object and cell each: 64 trials for every one of --trials. The
    default takes a minute on two cores with the built-in model. The paper does not state its number; --trials 25
    (1,600) is what its 2x2 sets have.
    """


class RSAFrame:
    """The experiment; it has no state."""

    name = "rsa-frame"

    def check(self, spec: RSAFrameSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, an unsuitable picture, or commas that are no tokens."""
        check_statistics(spec)
        check_trials(spec, reader, trials_of(spec, 1)[0])

    def plan(self, spec: RSAFrameSpec) -> tuple[Unit, ...]:
        """``trials_per_unit`` consecutive trials a unit."""
        return units_of(len(QUADRANTS) * 16 * spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: RSAFrameSpec, unit: Unit) -> xr.Dataset:
        """Activations at the last token, all layers."""
        every = trials_of(spec, spec.trials)
        return recorded(vlm, spec, {index: every[index] for index in unit.trials}, [LAST]).data.assign_attrs(ATTRS)

    def summarise(self, spec: RSAFrameSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims role, layer, comparison: correlations with their statistics (see ``similarity``); and accuracy."""
        data = joined(parts)
        labels = labelled(trials_of(spec, spec.trials), [LAST])
        found = correlated(spec, data, labels, {"relative": "relative", "absolute": "absolute"}, COMPARISONS)
        return found.assign(exact=data["exact"]).assign_attrs({**ATTRS, **asdict(spec)})

    def draw(self, summary: xr.Dataset) -> tuple[NamedFigure, ...]:
        """Relative, absolute and features by layer (Fig 2), and each frame given the other."""
        return frame_figures(summary)

    def account(self, summary: xr.Dataset) -> Account:
        """What was found, in words."""
        return frame_account(summary)

    def example(self, spec: RSAFrameSpec, reader: Reader) -> Shown:
        """The design's first trial."""
        return shown_trial(reader, trials_of(spec, 1)[0], [LAST])


def trials_of(spec: RSAFrameSpec, per_pair: int) -> list[Trial]:
    """The design with ``per_pair`` trials for every arrangement, object and cell."""
    return [trial_of(spec, one) for one in frame_set(per_pair, spec.seed)]
