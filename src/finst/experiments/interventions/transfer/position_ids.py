"""Position IDs by stage: mean activations of heads by place, and the step from one place to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.engine.activations import sampled
from finst.engine.precision import at_least_float32
from finst.experiments.interventions.heads import SITES
from finst.experiments.interventions.transfer.tasks import PLACES, Place, Task, TaskTrial
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM

ByPlace = Float[Tensor, "row side slot layer head d_head"]

Step = Float[Tensor, "layer slot head d_head"]


@dataclass(frozen=True, eq=False)
class PositionIDs:
    """The IDs of all places in one task and stage."""

    values: ByPlace
    """Means over trials of one place. Slots: the last token, or the described object's colour and noun."""
    shuffled: tuple[ByPlace, ...]
    """Means over the same trials with their places shuffled: every mean is over all places alike."""

    def step(self, start: Place, stop: Place, *, rows: bool, shuffle: int | None = None) -> Step:
        """The ID of ``stop`` minus that of ``start``; of means over both rows unless ``rows``.

        With ``shuffle`` (the number of a shuffle) the step of shuffled places, made as long as the true one in every
        head.
        """
        true = _between(self.values, start, stop, rows)
        if shuffle is None:
            return true
        other = _between(self.shuffled[shuffle], start, stop, rows)
        tiny = torch.finfo(other.dtype).tiny
        return other * (true.norm(dim=-1, keepdim=True) / other.norm(dim=-1, keepdim=True).clamp_min(tiny))


def _between(values: ByPlace, start: Place, stop: Place, rows: bool) -> Step:
    by_place = values if rows else values.mean(0, keepdim=True).expand_as(values)
    return (by_place[stop] - by_place[start]).transpose(0, 1)


def slots_of(stage: str, trial: TaskTrial, context: Encoded) -> tuple[int, ...]:
    """Positions of the stage's IDs: the last token; or the last tokens of the described object's colour and noun.

    A prompt may leave the colour out. Only for tasks that have the stage.
    """
    if stage != "id_retrieval":
        return (context.tokens.last,)
    assert trial.move is not None
    words = [context.tokens.positions(kind, trial.move.object) for kind in ("colour", "noun")]
    return tuple(where[-1] for where in words if where)


def stages_of(task: Task) -> tuple[str, ...]:
    """The stages whose IDs a task has."""
    return tuple(stage for stage in SITES if task.describes or stage != "id_retrieval")


def ids_of(
    vlm: VLM, task: Task, trials: Sequence[TaskTrial], draws: int, *, batch: int, seed: int
) -> dict[str, PositionIDs]:
    """IDs by stage, with ``draws`` shuffles. Where a task names no colour, its noun's ID stands for both slots."""
    contexts = [trial.encoded(vlm.reader) for trial in trials]
    stages, ids = stages_of(task), {}
    positions = [_all_slots(stages, *pair) for pair in zip(trials, contexts, strict=True)]
    passes = sampled(vlm, contexts, ("z", "q"), np.array(positions), batch=batch)
    for stage in stages:
        described = stage == "id_retrieval"
        values = passes.values[SITES[stage]].transpose(1, 2).to(at_least_float32(vlm.dtype))
        slots = (values[:, 1:] if described else values[:, :1]).to(vlm.device)
        places = np.array([PLACES.index(_described_place(trial) if described else trial.place) for trial in trials])
        mixed = [shuffled(places, np.random.default_rng([seed, 4, draw])) for draw in range(draws)]
        true, *others = (_means(slots, labels).to(vlm.dtype) for labels in (places, *mixed))
        ids[stage] = PositionIDs(true, tuple(others))
    return ids


def _described_place(trial: TaskTrial) -> Place:
    assert trial.move is not None
    return trial.move.start


def _all_slots(stages: Sequence[str], trial: TaskTrial, context: Encoded) -> tuple[int, ...]:
    """The last token; where an object is described its colour (or else its noun) and its noun."""
    if "id_retrieval" not in stages:
        return (context.tokens.last,)
    words = slots_of("id_retrieval", trial, context)
    return (context.tokens.last, words[0], words[-1])


def _means(values: Float[Tensor, "trial slot layer head d_head"], places: Int[np.ndarray, "trial"]) -> ByPlace:
    members = [torch.from_numpy(np.flatnonzero(places == place)).to(values.device) for place in range(len(PLACES))]
    return torch.stack([values[trials].mean(0) for trials in members]).unflatten(0, (2, 2))


def shuffled(places: Int[np.ndarray, "trial"], rng: np.random.Generator) -> Int[np.ndarray, "trial"]:
    """Other places in random order: among the trials of one place, each place is given equally often (within one)."""
    other = np.empty_like(places)
    for place in np.unique(places):
        members = rng.permutation(np.flatnonzero(places == place))
        other[members] = np.arange(len(members)) % len(PLACES)
    return other
