"""Estimates from other pictures than the tested ones: mean head outputs by index, and random directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from finst.engine.activations import sampled
from finst.engine.precision import at_least_float32
from finst.errors import FinstError
from finst.options import Placement
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Scene
from finst.scenes.sets import Staged, absolute
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM


@dataclass(frozen=True, eq=False)
class Prototypes:
    """d_i: each head's mean output ``z`` at the last token, by the index i of the object to be named."""

    values: Float[Tensor, "index layer head d_head"]
    counts: tuple[int, ...]
    """Trials behind each mean."""

    @property
    def layers(self) -> Float[Tensor, "index layer 1 head d_head"]:
        """With the axis of positions that rows of edits have."""
        return self.values[:, :, None]


def prototypes(
    vlm: VLM, contexts: Sequence[Encoded], index: Sequence[int], *, batch: int, exact: bool = False
) -> Prototypes:
    """Means over the ``contexts`` (encoded with their answers) of the same ``index`` (0, 1, ...).

    With ``exact``, over those alone that greedy decoding answers exactly. Raises FinstError for an index without any.
    """
    last = np.array([[context.tokens.last] for context in contexts])
    passes = sampled(vlm, contexts, ("z",), last, batch=batch)
    kept: Bool[np.ndarray, "_"] = passes.exact.numpy() if exact else np.ones(len(contexts), dtype=bool)
    indices = np.array(index)
    members = [torch.from_numpy(np.flatnonzero(kept & (indices == each))) for each in range(int(indices.max()) + 1)]
    counts = tuple(map(len, members))
    if not all(counts):
        raise FinstError(
            f"no trial of index {counts.index(0)} is left to estimate from: expected at least one that "
            f"{vlm.reader.id} answers exactly; more trials may help, or a model that can do the task"
        )
    z = passes.values["z"][:, :, 0].to(at_least_float32(vlm.dtype))
    return Prototypes(torch.stack([z[trials].mean(0) for trials in members]).to(vlm.device, vlm.dtype), counts)


def by_cell(
    vlm: VLM, grid: Grid, staged: Sequence[Staged], placement: Placement, *, batch: int, exact: bool = False
) -> Prototypes:
    """Prototypes from scene descriptions, by the cell of the object to be named. Raises as ``prototypes``."""
    contexts = []
    for each in staged:
        prompt = scene_description(each.scene, each.order[:-1], each.order[-1], placement)
        contexts.append(encode(vlm.reader, draw(each.scene), prompt, prompt.answer))
    cells = [grid.cells.index(absolute(each.target)) for each in staged]
    return prototypes(vlm, contexts, cells, batch=batch, exact=exact)


def random_like(direction: Float[Tensor, "*_ d_head"], rng: np.random.Generator) -> Float[Tensor, "*_ d_head"]:
    """Random directions of the same lengths: the control for the mere size of an edit."""
    noise = torch.from_numpy(rng.normal(size=tuple(direction.shape))).to(direction)
    return noise * (direction.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True))


def check_disjoint(first: Sequence[Scene], second: Sequence[Scene]) -> None:
    """Raises FinstError when a picture is in both splits."""
    shared = len({frozenset(scene.objects) for scene in first} & {frozenset(scene.objects) for scene in second})
    if shared:
        raise FinstError(
            f"{shared} pictures are in both splits: expected estimates from other pictures than the tested ones"
        )
