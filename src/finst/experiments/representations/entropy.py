"""RSA under entropy: whether position and accuracy are lost when objects share features (Figs 6, 7 and 30-36)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import xarray as xr

from finst.analysis.rsa import Comparison
from finst.experiments.representations.activations import check_trials, example_of, record_trials, size_of
from finst.experiments.representations.answers import accuracies, decoded_answers, scored_answers
from finst.experiments.representations.report.rsa_figures import entropy_figures
from finst.experiments.representations.report.rsa_findings import entropy_findings
from finst.experiments.representations.roles import roles_of
from finst.experiments.representations.similarity import correlations
from finst.experiments.representations.spec import RSAEntropySpec
from finst.experiments.representations.trials import Trial, labels_of, trial_of
from finst.experiments.units import joined, spec_attrs, square, units_of
from finst.options import Entropy
from finst.report.example import TrialExample
from finst.runs.experiment import Experiment, Report, Unit
from finst.runs.size import Size
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


class RSAEntropy(Experiment[RSAEntropySpec]):
    """RSA with position, and accuracy, for objects that share features and for distinct ones (Figs 6, 7 and 30-36)."""

    name = "rsa-entropy"
    spec = RSAEntropySpec
    report = Report(entropy_figures, entropy_findings)
    statistic = "r"

    def check(self, spec: RSAEntropySpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, an unsuitable picture, or commas that are no tokens."""
        spec.check()
        for condition in CONDITIONS:
            check_trials(spec, reader, trials_of(spec, condition, 1)[0])

    def size(self, spec: RSAEntropySpec, reader: Reader) -> Size:
        """Activations of every trial at all commas and the last token."""
        return size_of(spec, reader, len(CONDITIONS) * _per_condition(spec), len(square(spec.grid).cells))

    def plan(self, spec: RSAEntropySpec) -> tuple[Unit, ...]:
        """``trials_per_unit`` consecutive trials a unit: first those of low entropy, then those of high entropy."""
        count = _per_condition(spec)
        return tuple(
            Unit(f"{condition} entropy, {unit.name}", tuple(number * count + index for index in unit.trials))
            for number, condition in enumerate(CONDITIONS)
            for unit in units_of(count, spec.trials_per_unit)
        )

    def measure(self, vlm: VLM, spec: RSAEntropySpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        """Activations at all commas and the last token (dims trial, layer, role, d_model), and the model's answers."""
        condition = CONDITIONS[unit.trials[0] // _per_condition(spec)]
        design = trials_of(spec, condition, spec.trials)
        trials = {index: design[index % len(design)] for index in unit.trials}
        recorded = record_trials(vlm, spec, trials, roles_of(len(design[0].labels)))
        prompts = [trial.prompt for trial in trials.values()]
        texts = decoded_answers(vlm, recorded.contexts, prompts, recorded.passes)
        return recorded.data.merge(scored_answers(texts, prompts)).assign_attrs(ATTRS)

    def summarise(self, spec: RSAEntropySpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Correlations with their statistics (dims condition, role, layer, comparison), and accuracies by condition."""
        data = joined(parts)
        count = _per_condition(spec)
        summaries = []
        for number, condition in enumerate(CONDITIONS):
            part = data.isel(trial=slice(number * count, (number + 1) * count))
            labels = labels_of(trials_of(spec, condition, spec.trials), data["role"].values.tolist())
            correlated = correlations(spec, part, labels, {"position": "absolute"}, COMPARISONS)
            summaries.append(correlated.merge(accuracies(part, 1 - spec.alpha)))
        summary = xr.concat(summaries, xr.DataArray(list(CONDITIONS), dims="condition", name="condition"), join="exact")
        return summary.assign_attrs({**ATTRS, **spec_attrs(spec), "n": count})

    def example(self, spec: RSAEntropySpec, reader: Reader) -> TrialExample:
        """The first trial at low entropy."""
        return example_of(reader, trials_of(spec, CONDITIONS[0], 1)[0])


def _per_condition(spec: RSAEntropySpec) -> int:
    return len(square(spec.grid).cells) ** 2 * spec.trials


@lru_cache(maxsize=2)
def trials_of(spec: RSAEntropySpec, entropy: Entropy, per_pair: int) -> list[Trial]:
    """The design of one condition, with ``per_pair`` trials for every pair of object and cell."""
    return [trial_of(spec, staged) for staged in unique_objects(square(spec.grid), entropy, per_pair, spec.seed)]
