"""How often a scene description is completed rightly, by number of objects, entropy and placement (Fig 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np
import xarray as xr

from finst.engine.activations import sampled
from finst.errors import FinstError
from finst.experiments.example import trial_example
from finst.experiments.representations.accuracy_figures import accuracy_figures
from finst.experiments.representations.answers import scored, spoken
from finst.experiments.representations.entropy import accuracies
from finst.experiments.representations.rsa_findings import accuracy_findings
from finst.experiments.representations.spec import AccuracySpec
from finst.experiments.units import check_numbers, joined
from finst.options import Entropy, Placement
from finst.prompts import Prompt, scene_description
from finst.report.example import TrialExample
from finst.runs.experiment import Experiment, Report, Unit
from finst.scenes.designs import grid_scene
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Scene
from finst.vlm.encode import encode
from finst.vlm.open import VLM, Reader

ATTRS = {"title": "Accuracy of scene descriptions", "paper": "arXiv 2506.15871, Fig 7 and the section on prompts"}


@dataclass(frozen=True)
class Condition:
    """One number of the result."""

    placement: Placement
    entropy: Entropy
    objects: int

    @property
    def grid(self) -> Grid:
        """The smaller one of the paper's grids that holds so many objects."""
        return Grid(2, 2) if self.objects <= 4 else Grid(3, 3)


class Accuracy(Experiment[AccuracySpec]):
    """The experiment."""

    name = "accuracy"
    spec = AccuracySpec
    report = Report(accuracy_figures, accuracy_findings)
    statistic = "accuracy"

    def check(self, spec: AccuracySpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, and for pictures or prompts that do not suit the model."""
        check_numbers(spec, {"trials": 1, "seed": 0, "batch": 1})
        for name in ("objects", "entropies", "placements"):
            values = getattr(spec, name)
            if not values or len(set(values)) < len(values):
                raise FinstError(f"{name} is {values}: expected one or more different values")
        wrong = [count for count in spec.objects if not 2 <= count <= 9]
        if wrong:
            raise FinstError(f"objects holds {wrong[0]}: expected numbers from 2 to 9, the cells of the 3x3 grid")
        for condition in conditions_of(spec):
            scene, prompt = question(spec, condition, 0)
            encode(reader, draw(scene), prompt, prompt.answer)

    def plan(self, spec: AccuracySpec) -> tuple[Unit, ...]:
        """One condition a unit."""
        return tuple(
            Unit(
                f"{one.objects} objects, {one.entropy} entropy, {one.placement}",
                tuple(range(number * spec.trials, (number + 1) * spec.trials)),
            )
            for number, one in enumerate(conditions_of(spec))
        )

    def measure(self, vlm: VLM, spec: AccuracySpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        """Dims trial: what the model says, and whether that is right."""
        condition = conditions_of(spec)[unit.trials[0] // spec.trials]
        asked = [question(spec, condition, index % spec.trials) for index in unit.trials]
        prompts = [prompt for _, prompt in asked]
        contexts = [encode(vlm.reader, draw(scene), prompt, prompt.answer) for scene, prompt in asked]
        nowhere = np.zeros((len(contexts), 0), dtype=np.int64)
        passes = sampled(vlm, contexts, (), nowhere, batch=spec.batch)
        data = scored(spoken(vlm, contexts, prompts, passes), prompts)
        answers = ("trial", np.array([prompt.answer for prompt in prompts]), {"units": "1", "long_name": "the answer"})
        return data.assign(answer=answers).assign_coords(trial=list(unit.trials)).assign_attrs(ATTRS)

    def summarise(self, spec: AccuracySpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims placement, entropy, objects: accuracies with their Wilson intervals."""
        data = joined(parts)
        rows = []
        for number, one in enumerate(conditions_of(spec)):
            part = data.isel(trial=slice(number * spec.trials, (number + 1) * spec.trials))
            at = {"placement": [one.placement], "entropy": [one.entropy], "objects": [one.objects]}
            rows.append(accuracies(part, 1 - spec.alpha).expand_dims(at))
        found = xr.combine_by_coords(rows, join="outer", combine_attrs="override")
        assert isinstance(found, xr.Dataset)
        ordered = found.sel(placement=list(spec.placements), entropy=list(spec.entropies), objects=list(spec.objects))
        record = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(spec).items()}
        return ordered.assign_attrs({**ATTRS, **record})

    def example(self, spec: AccuracySpec, reader: Reader) -> TrialExample:
        """The first trial of the last condition."""
        scene, prompt = question(spec, conditions_of(spec)[-1], 0)
        return trial_example(reader, draw(scene), encode(reader, draw(scene), prompt), prompt.answer, ())


def conditions_of(spec: AccuracySpec) -> list[Condition]:
    """In the order in which they are measured."""
    return [Condition(p, e, n) for p in spec.placements for e in spec.entropies for n in spec.objects]


def question(spec: AccuracySpec, condition: Condition, index: int) -> tuple[Scene, Prompt]:
    """Trial ``index`` of a condition, whatever else is measured; both placements ask about the same scenes."""
    entropy = get_args(Entropy).index(condition.entropy)
    rng = np.random.default_rng([spec.seed, condition.objects, entropy, index])
    scene = grid_scene(rng, condition.grid, condition.objects, condition.entropy)
    *described, target = (int(place) for place in rng.permutation(condition.objects))
    leak = spec.leak_target_colour
    return scene, scene_description(scene, described, target, condition.placement, leak_target_colour=leak)
