"""RSA under entropy: are position and accuracy lost when objects share features (Figs 6, 7 and 30-36)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import xarray as xr

from finst.analysis.rsa import Comparison
from finst.experiments.representations.activations import check_trials, recorded, shown_trial
from finst.experiments.representations.answers import scored, share, spoken
from finst.experiments.representations.rsa_figures import entropy_figures
from finst.experiments.representations.rsa_findings import entropy_findings
from finst.experiments.representations.similarity import check_statistics, correlated
from finst.experiments.representations.spec import RSAEntropySpec
from finst.experiments.representations.trials import Trial, labelled, roles_of, square, trial_of
from finst.experiments.units import joined, units_of
from finst.options import Entropy
from finst.report.example import TrialExample
from finst.runs.experiment import Experiment, Report, Unit
from finst.scenes.sets import unique_objects
from finst.vlm.open import VLM, Reader

CONDITIONS: tuple[Entropy, ...] = ("low", "high")

COMPARISONS = (
    Comparison("position"),
    Comparison("features"),
    Comparison("position", "features"),
    Comparison("features", "position"),
)

ATTRS = {
    "title": "Representational similarity with position, and accuracy, at low and high entropy",
    "paper": "arXiv 2506.15871, Figs 6, 7 and 30-36",
}

ACCURACY = {
    "accuracy": "share of trials in which the model begins with the whole answer",
    "colour_accuracy": "share of trials in which the model begins with the answer's first word, the colour",
}


class RSAEntropy(Experiment[RSAEntropySpec]):
    """The experiment."""

    name = "rsa-entropy"
    spec = RSAEntropySpec
    report = Report(entropy_figures, entropy_findings)
    statistic = "r"

    def check(self, spec: RSAEntropySpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, an unsuitable picture, or commas that are no tokens."""
        check_statistics(spec)
        for condition in CONDITIONS:
            check_trials(spec, reader, trials_of(spec, condition, 1)[0])

    def plan(self, spec: RSAEntropySpec) -> tuple[Unit, ...]:
        """``trials_per_unit`` consecutive trials a unit: first those of low entropy, then those of high entropy."""
        count = _per_condition(spec)
        return tuple(
            Unit(f"{condition} entropy, {unit.name}", tuple(place * count + index for index in unit.trials))
            for place, condition in enumerate(CONDITIONS)
            for unit in units_of(count, spec.trials_per_unit)
        )

    def measure(self, vlm: VLM, spec: RSAEntropySpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        """Activations at all commas and the last token, all layers; and what the model says."""
        place, _ = divmod(unit.trials[0], _per_condition(spec))
        every = trials_of(spec, CONDITIONS[place], spec.trials)
        trials = {index: every[index % len(every)] for index in unit.trials}
        found = recorded(vlm, spec, trials, roles_of(len(every[0].labels)))
        prompts = [trial.prompt for trial in trials.values()]
        said = spoken(vlm, found.contexts, prompts, found.passes)
        return found.data.merge(scored(said, prompts)).assign_attrs(ATTRS)

    def summarise(self, spec: RSAEntropySpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims condition, role, layer, comparison: correlations with their statistics; and accuracies by condition."""
        data = joined(parts)
        count = _per_condition(spec)
        found = []
        for place, condition in enumerate(CONDITIONS):
            part = data.isel(trial=slice(place * count, (place + 1) * count))
            labels = labelled(trials_of(spec, condition, spec.trials), data["role"].values.tolist())
            compared = correlated(spec, part, labels, {"position": "absolute"}, COMPARISONS)
            found.append(compared.merge(accuracies(part, 1 - spec.alpha)))
        whole = xr.concat(found, xr.DataArray(list(CONDITIONS), dims="condition", name="condition"), join="exact")
        return whole.assign_attrs({**ATTRS, **asdict(spec), "n": count})

    def example(self, spec: RSAEntropySpec, reader: Reader) -> TrialExample:
        """The design's first trial."""
        return shown_trial(reader, trials_of(spec, CONDITIONS[0], 1)[0])


def accuracies(part: xr.Dataset, confidence: float) -> xr.Dataset:
    """Whole answer and colour only (dims trial: ``correct``, ``colour_correct``), each with its Wilson interval."""
    measured = xr.Dataset()
    for name, right in (("accuracy", "correct"), ("colour_accuracy", "colour_correct")):
        values = share(np.asarray(part[right].values, dtype=bool), confidence)
        for suffix, value, which in zip(("", "_low", "_high"), values, ("", "lower", "upper"), strict=True):
            text = ACCURACY[name] if not which else f"{which} end of its Wilson interval"
            measured[f"{name}{suffix}"] = ((), value, {"units": "1", "long_name": text})
    return measured


def _per_condition(spec: RSAEntropySpec) -> int:
    return len(square(spec.grid).cells) ** 2 * spec.trials


def trials_of(spec: RSAEntropySpec, entropy: Entropy, per_pair: int) -> list[Trial]:
    """The design of one condition, with ``per_pair`` trials for every object and cell."""
    return [trial_of(spec, one) for one in unique_objects(square(spec.grid), entropy, per_pair, spec.seed)]
