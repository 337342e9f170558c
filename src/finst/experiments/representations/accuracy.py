"""How often the model completes a scene description correctly, by number of objects, entropy, placement (Fig 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np
import xarray as xr

from finst.engine.activations import sampled
from finst.errors import FinstError
from finst.experiments.example import trial_example
from finst.experiments.representations.answers import accuracies, decoded_answers, scored_answers
from finst.experiments.representations.report.accuracy_figures import accuracy_figures
from finst.experiments.representations.report.accuracy_findings import accuracy_findings
from finst.experiments.representations.spec import AccuracySpec
from finst.experiments.units import documented, joined, spec_attrs
from finst.options import Entropy, Placement
from finst.prompts import Prompt, scene_description
from finst.report.example import TrialExample
from finst.runs.experiment import Experiment, Report, Unit
from finst.runs.size import Size
from finst.scenes.designs import grid_scene
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Scene
from finst.vlm.encode import encode
from finst.vlm.open import VLM, Reader

DOCUMENTATION = {"answer": ("1", "the answer")}

ATTRS = {"title": "Accuracy of scene descriptions", "paper": "arXiv 2506.15871, Fig 7 and the section on prompts"}


@dataclass(frozen=True)
class AccuracyCondition:
    """The trials that share one accuracy of the result."""

    placement: Placement
    entropy: Entropy
    objects: int

    @property
    def grid(self) -> Grid:
        """The smaller of the paper's grids that holds so many objects."""
        return Grid(2, 2) if self.objects <= 4 else Grid(3, 3)


class Accuracy(Experiment[AccuracySpec]):
    """Accuracy of whole answers and of their colours, condition by condition (Fig 7)."""

    name = "accuracy"
    spec = AccuracySpec
    report = Report(accuracy_figures, accuracy_findings)
    statistic = "accuracy"

    def check(self, spec: AccuracySpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, and for pictures or prompts that do not suit the model."""
        spec.check()
        for name in ("objects", "entropies", "placements"):
            values = getattr(spec, name)
            if not values or len(set(values)) < len(values):
                raise FinstError(f"{name} is {values}: expected one or more different values")
        wrong = [count for count in spec.objects if not 2 <= count <= 9]
        if wrong:
            raise FinstError(f"objects holds {wrong[0]}: expected numbers from 2 to 9, the cells of the 3x3 grid")
        for condition in conditions_of(spec):
            scene, prompt = scene_and_prompt(spec, condition, 0)
            encode(reader, draw(scene), prompt, prompt.answer)

    def size(self, spec: AccuracySpec, reader: Reader) -> Size:
        """Answers of every trial in every condition."""
        return Size(spec.trials * len(conditions_of(spec)), per_unit=spec.trials, smaller="fewer trials")

    def plan(self, spec: AccuracySpec) -> tuple[Unit, ...]:
        """One condition a unit."""
        return tuple(
            Unit(
                f"{condition.objects} objects, {condition.entropy} entropy, {condition.placement}",
                tuple(range(number * spec.trials, (number + 1) * spec.trials)),
            )
            for number, condition in enumerate(conditions_of(spec))
        )

    def measure(self, vlm: VLM, spec: AccuracySpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        """Dims trial: what the model answers, the right answer, and whether the model's is correct."""
        condition = conditions_of(spec)[unit.trials[0] // spec.trials]
        trials = [scene_and_prompt(spec, condition, index % spec.trials) for index in unit.trials]
        prompts = [prompt for _, prompt in trials]
        contexts = [encode(vlm.reader, draw(scene), prompt, prompt.answer) for scene, prompt in trials]
        no_positions = np.zeros((len(contexts), 0), dtype=np.int64)
        passes = sampled(vlm, contexts, (), no_positions, batch=spec.batch)
        data = scored_answers(decoded_answers(vlm, contexts, prompts, passes), prompts)
        data["answer"] = ("trial", np.array([prompt.answer for prompt in prompts]))
        return documented(data, DOCUMENTATION).assign_coords(trial=list(unit.trials)).assign_attrs(ATTRS)

    def summarise(self, spec: AccuracySpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims placement, entropy, objects: accuracies with their Wilson intervals."""
        data = joined(parts)
        cells = []
        for number, condition in enumerate(conditions_of(spec)):
            part = data.isel(trial=slice(number * spec.trials, (number + 1) * spec.trials))
            dims = {name: [getattr(condition, name)] for name in ("placement", "entropy", "objects")}
            cells.append(accuracies(part, 1 - spec.alpha).expand_dims(dims))
        summary = xr.combine_by_coords(cells, join="outer", combine_attrs="override")
        assert isinstance(summary, xr.Dataset)
        in_order = {"placement": spec.placements, "entropy": spec.entropies, "objects": spec.objects}
        ordered = summary.sel({name: list(values) for name, values in in_order.items()})
        return ordered.assign_attrs({**ATTRS, **spec_attrs(spec)})

    def example(self, spec: AccuracySpec, reader: Reader) -> TrialExample:
        """The first trial of the last condition."""
        scene, prompt = scene_and_prompt(spec, conditions_of(spec)[-1], 0)
        described = {span.object for span in prompt.spans}
        targets = [index for index in range(len(scene.objects)) if index not in described]
        return trial_example(
            reader, draw(scene), encode(reader, draw(scene), prompt), prompt.answer, (), targets=targets
        )


def conditions_of(spec: AccuracySpec) -> list[AccuracyCondition]:
    """All conditions, in the order in which they are measured."""
    return [AccuracyCondition(*condition) for condition in product(spec.placements, spec.entropies, spec.objects)]


def scene_and_prompt(spec: AccuracySpec, condition: AccuracyCondition, index: int) -> tuple[Scene, Prompt]:
    """Trial ``index`` of a condition, whatever else is measured; both placements have the same scenes."""
    entropy = get_args(Entropy).index(condition.entropy)
    rng = np.random.default_rng([spec.seed, condition.objects, entropy, index])
    scene = grid_scene(rng, condition.grid, condition.objects, condition.entropy)
    *described, target = (int(number) for number in rng.permutation(condition.objects))
    leak = spec.leak_target_colour
    return scene, scene_description(scene, described, target, condition.placement, leak_target_colour=leak)
