"""Mean keys of objects on either side, and the edits that move keys from one side to the other (Fig 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.analysis.headsets import Head, largest_k
from finst.engine.edits import Edit, Row, Rows, rows_from
from finst.engine.reads import activations
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.estimates import random_like
from finst.experiments.interventions.key_swap.design import SIDES, ColourQuestion
from finst.experiments.interventions.key_swap.report import EDITED, REACHES, edit_name
from finst.experiments.interventions.key_swap.spec import KeySwapSpec
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM

STAGE = "feature_retrieval"


@dataclass(frozen=True)
class MeanKeys:
    """Mean keys by the side of the object, before rotary positions."""

    values: Float[Tensor, "side layer kv_head d_head"]

    @property
    def to_right(self) -> Float[Tensor, "layer kv_head d_head"]:
        """The difference between the keys of an object on the right and of one on the left."""
        return self.values[1] - self.values[0]


def mean_keys(vlm: VLM, questions: Sequence[ColourQuestion]) -> MeanKeys:
    """Means over all patches of the objects on either side."""
    total = torch.zeros(len(SIDES), vlm.n_layers, vlm.n_kv_heads, vlm.d_head, dtype=torch.float64)
    counts = torch.zeros(len(SIDES), dtype=torch.float64)
    for question in questions:
        context = question.encoded(vlm.reader)
        for index, side in enumerate(question.sides):
            where = context.tokens.object_patches(index)
            keys = activations(vlm, [context], ("k",), where)["k"][0]
            total[side] += keys.sum(1).to("cpu", torch.float64)
            counts[side] += len(where)
    return MeanKeys((total / counts[:, None, None, None]).to(vlm.device, vlm.dtype))


@dataclass(frozen=True, eq=False)
class KeyEdit:
    """One edit at any dose: which KV heads, at which objects' patches, along which direction."""

    name: str
    heads: Mapping[int, tuple[int, ...]]
    """KV heads by layer."""
    both: bool
    """Whether both objects are edited, or the queried one alone."""
    direction: Float[Tensor, "layer kv_head d_head"]

    @property
    def text(self) -> str:
        """``L3K0 L4K*``."""
        count = self.direction.shape[1]
        named = {lay: "*" if len(heads) == count else ",".join(map(str, heads)) for lay, heads in self.heads.items()}
        return " ".join(f"L{layer}K{heads}" for layer, heads in named.items())


def key_edits(maps: HeadMaps, spec: KeySwapSpec, keys: MeanKeys) -> tuple[KeyEdit, ...]:
    """From one KV head on the queried side to the paper's edit, and its controls.

    Controls are whole layers that hold none of the strongest heads, as many as are edited (all of them, once, where
    there are fewer; left out where there are none), and random directions of the same length in the paper's layers.
    """
    layers, kv_heads, _ = keys.to_right.shape
    group = maps.mean.shape[2] // kv_heads
    top = maps.top(STAGE, size_of(spec, maps.heads), spec.seed).heads
    strongest = maps.top(STAGE, 1, spec.seed).heads
    every_head = tuple(range(kv_heads))
    holding = sorted({layer for layer, _ in top})
    whole = dict.fromkeys(holding, every_head)
    reached = dict(zip(REACHES, (_by_layer(strongest, group), _by_layer(top, group), whole), strict=True))
    paper = [
        KeyEdit(edit_name(reach, objects), heads, objects == "both", keys.to_right)
        for reach, heads in reached.items()
        for objects in EDITED
    ]
    rng = np.random.default_rng([spec.seed, 3])
    free = np.setdiff1d(np.arange(layers), holding)
    drawn = [_other_layers(free, holding, rng) for _ in range(spec.draws if len(free) > len(holding) else 1)]
    others = [
        KeyEdit(f"random layers {draw}", dict.fromkeys(other, every_head), True, keys.to_right)
        for draw, other in enumerate(filter(None, drawn))
    ]
    rng = np.random.default_rng([spec.seed, 4])
    random = [
        KeyEdit(f"random direction {draw}", whole, True, random_like(keys.to_right, rng)) for draw in range(spec.draws)
    ]
    return (*paper, *others, *random)


def size_of(spec: KeySwapSpec, heads: int) -> int:
    """The K of a model with so many heads: a default K is cut at half of them, as ``sizes_of`` does."""
    return min(spec.k, largest_k(heads)) if spec.k == KeySwapSpec.k else spec.k


def _other_layers(free: Int[np.ndarray, "layer"], holding: Sequence[int], rng: np.random.Generator) -> list[int]:
    """As many layers as hold a strong head (``holding``), of the ``free`` ones that hold none, or all of these."""
    drawn = rng.permutation(free).tolist()[: len(holding)]
    rng.permutation(len(holding))  # so that seeds draw what they drew in stored runs
    return sorted(drawn)


def _by_layer(heads: Sequence[Head], group: int) -> dict[int, tuple[int, ...]]:
    """The KV heads that query heads read, by layer; ``group`` query heads share one."""
    pairs = sorted({(layer, head // group) for layer, head in heads})
    return {layer: tuple(kv for at, kv in pairs if at == layer) for layer, _ in pairs}


def edit_rows(edits: Sequence[KeyEdit], doses: Sequence[float], question: ColourQuestion, context: Encoded) -> Rows:
    """An unedited row, then one for every edit and dose, in this order."""
    edited = [_row(each, dose, question, context) for each in edits for dose in doses]
    return rows_from([(), *edited])


def _row(edit: KeyEdit, dose: float, question: ColourQuestion, context: Encoded) -> Row:
    """Adds ``dose`` times the difference towards the other side to the keys of the edited objects' patches."""
    row: list[Edit] = []
    for index, side in enumerate(question.sides):
        if edit.both or index == question.queried:
            where, towards = context.tokens.object_patches(index), 1 - 2 * side
            row += [
                Edit(layer, heads, where, edit.direction[layer, list(heads)], "k", "add", coefficient=towards * dose)
                for layer, heads in edit.heads.items()
            ]
    return tuple(row)
