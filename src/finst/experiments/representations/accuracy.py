"""How often a scene description is completed rightly, by number of objects, entropy and placement (Fig 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np
import xarray as xr

from finst.engine.activations import sampled
from finst.errors import FinstError
from finst.experiments.example import shown
from finst.experiments.representations.accuracy_figures import accuracy_figures
from finst.experiments.representations.answers import scored, spoken
from finst.experiments.representations.entropy import accuracies
from finst.experiments.representations.rsa_findings import accuracy_account
from finst.experiments.units import check_numbers, joined
from finst.prompts import Placement, Prompt, scene_description
from finst.report.example import Shown
from finst.report.figures import NamedFigure
from finst.report.findings import Account
from finst.runs.experiment import Unit
from finst.scenes.designs import Entropy, grid_scene
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Scene
from finst.vlm.encode import encode
from finst.vlm.open import VLM, Dtype, Reader

ATTRS = {"title": "Accuracy of scene descriptions", "paper": "arXiv 2506.15871, Fig 7 and the section on prompts"}


@dataclass(frozen=True)
class AccuracySpec:
    """Accuracy of scene descriptions: the whole answer and its colour, by number of objects, entropy and placement.

    Up to 4 objects are on a 2x2 grid, more on a 3x3 grid, in random cells, described in random order but for one. The
    default, 40 trials in each of 32 conditions, takes a minute on two cores with the built-in model. The paper's Fig 7
    is --objects 4 --trials 1600 and --objects 9 --trials 4050.
    """

    model: str = "organism"
    """Built-in model, folder with a checkpoint, or Hugging Face hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    trials: int = 40
    """Trials of every condition."""
    objects: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8, 9)
    """Numbers of objects."""
    entropies: tuple[Entropy, ...] = ("low", "high")
    """low: conjunctions of few values; high: objects as distinct as possible; any: any distinct conjunctions."""
    placements: tuple[Placement, ...] = ("prefill", "user_turn")
    """Where the unfinished sentence is: begun in the assistant's turn, or in the user's."""
    leak_target_colour: bool = False
    """Let the prompt end with the target's colour; the answer is then the shape alone."""
    seed: int = 0
    """Fixes scenes, targets and orders of mention."""
    dtype: Dtype = "float32"
    """Number format of the model."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda or cuda:N."""
    batch: int = 32
    """Contexts in one pass through the model."""
    alpha: float = 0.05
    """Intervals have level 1 - alpha."""


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


class Accuracy:
    """The experiment; it has no state."""

    name = "accuracy"

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

    def measure(self, vlm: VLM, spec: AccuracySpec, unit: Unit) -> xr.Dataset:
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

    def draw(self, summary: xr.Dataset) -> tuple[NamedFigure, ...]:
        """Accuracy by number of objects, a panel a placement (Fig 7)."""
        return accuracy_figures(summary)

    def account(self, summary: xr.Dataset) -> Account:
        """What was found, in words."""
        return accuracy_account(summary)

    def example(self, spec: AccuracySpec, reader: Reader) -> Shown:
        """The first trial of the last condition."""
        scene, prompt = question(spec, conditions_of(spec)[-1], 0)
        return shown(reader, draw(scene), encode(reader, draw(scene), prompt), prompt.answer, ())


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
