"""Position IDs by stage: what heads hold for each place, and what takes an object from one place to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.engine.activations import sampled
from finst.engine.precision import at_least_float32
from finst.experiments.interventions.transfer.tasks import PLACES, Asked, Place, Task
from finst.scenes.draw import draw
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, Reader

SITES: Mapping[str, Literal["z", "q"]] = MappingProxyType(
    {"id_retrieval": "z", "id_selection": "z", "feature_retrieval": "q"}
)
"""Where a stage's IDs are read and written: its heads' outputs, or their queries before rotary positions."""

ByPlace = Float[Tensor, "row side slot layer head width"]


@dataclass(frozen=True, eq=False)
class IDs:
    """Of one task and stage."""

    values: ByPlace
    """Means over trials of one place. Slots: the last token, or the described object's colour and noun."""
    shuffled: tuple[ByPlace, ...]
    """The same of the same trials with their places shuffled: every mean is over all places alike."""

    def step(self, start: Place, stop: Place, *, rows: bool, shuffle: int | None = None) -> Step:
        """What takes an object from ``start`` to ``stop`` when it is added; of means over rows unless ``rows``.

        With ``shuffle`` (a number of a shuffle) that of shuffled places, made as long as the true one in every head.
        """
        true = _between(self.values, start, stop, rows)
        if shuffle is None:
            return true
        other = _between(self.shuffled[shuffle], start, stop, rows)
        tiny = torch.finfo(other.dtype).tiny
        return other * (true.norm(dim=-1, keepdim=True) / other.norm(dim=-1, keepdim=True).clamp_min(tiny))


Step = Float[Tensor, "layer slot head width"]


def _between(values: ByPlace, start: Place, stop: Place, rows: bool) -> Step:
    sides = values if rows else values.mean(0, keepdim=True).expand_as(values)
    return (sides[stop] - sides[start]).transpose(0, 1)


def slots_of(stage: str, asked: Asked, context: Encoded) -> tuple[int, ...]:
    """Where the stage's IDs are: the last token; or the last tokens of the described object's colour and noun.

    A prompt may leave the colour out. Only for tasks that have the stage.
    """
    if stage != "id_retrieval":
        return (context.tokens.last,)
    assert asked.move is not None
    found = [context.tokens.positions(kind, asked.move.object) for kind in ("colour", "noun")]
    return tuple(where[-1] for where in found if where)


def context_of(reader: Reader, asked: Asked) -> Encoded:
    """Without its answer."""
    return encode(reader, draw(asked.scene), asked.prompt)


def stages_of(task: Task) -> tuple[str, ...]:
    """The stages whose IDs a task has."""
    return tuple(stage for stage in SITES if task.describes or stage != "id_retrieval")


def ids_of(vlm: VLM, task: Task, trials: Sequence[Asked], draws: int, *, batch: int, seed: int) -> dict[str, IDs]:
    """By stage. Where a task names no colour, its noun's ID stands for both slots."""
    contexts = [context_of(vlm.reader, asked) for asked in trials]
    stages, found = stages_of(task), {}
    where = [_all_slots(stages, *one) for one in zip(trials, contexts, strict=True)]
    passes = sampled(vlm, contexts, ("z", "q"), np.array(where), batch=batch)
    for stage in stages:
        described = stage == "id_retrieval"
        values = passes.values[SITES[stage]].transpose(1, 2).to(at_least_float32(vlm.dtype))
        own = (values[:, 1:] if described else values[:, :1]).to(vlm.device)
        of = np.array([PLACES.index(_told(asked) if described else asked.place) for asked in trials])
        mixed = [shuffled(of, np.random.default_rng([seed, 4, draw_])) for draw_ in range(draws)]
        true, *others = (_means(own, labels).to(vlm.dtype) for labels in (of, *mixed))
        found[stage] = IDs(true, tuple(others))
    return found


def _told(asked: Asked) -> Place:
    assert asked.move is not None
    return asked.move.start


def _all_slots(stages: Sequence[str], asked: Asked, context: Encoded) -> tuple[int, ...]:
    """The last token; where an object is described its colour (or else its noun) and its noun."""
    if "id_retrieval" not in stages:
        return (context.tokens.last,)
    words = slots_of("id_retrieval", asked, context)
    return (context.tokens.last, words[0], words[-1])


def _means(values: Float[Tensor, "trial slot layer head width"], of: Int[np.ndarray, "trial"]) -> ByPlace:
    means = [values[torch.from_numpy(np.flatnonzero(of == place)).to(values.device)].mean(0) for place in range(4)]
    return torch.stack(means).unflatten(0, (2, 2))


def shuffled(of: Int[np.ndarray, "trial"], rng: np.random.Generator) -> Int[np.ndarray, "trial"]:
    """Other places for the trials, in random order: of those that share a place as many get each (within one)."""
    other = np.empty_like(of)
    for place in np.unique(of):
        inside = rng.permutation(np.flatnonzero(of == place))
        other[inside] = np.arange(len(inside)) % len(PLACES)
    return other
