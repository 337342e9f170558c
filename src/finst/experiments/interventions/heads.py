"""Which heads an intervention edits: rankings from causal mediation, their controls, and the rows that edit them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from finst.analysis import headsets
from finst.analysis.headsets import Head
from finst.engine.edits import Rows, unedited
from finst.engine.head_sets import head_sets
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.vlm.open import VLM, Reader

SITES: Mapping[str, Literal["z", "q"]] = MappingProxyType(
    {"id_retrieval": "z", "id_selection": "z", "feature_retrieval": "q"}
)
"""Where position IDs are read and written in each stage: heads' outputs, or their queries before rotary positions."""


@dataclass(frozen=True)
class HeadSets:
    """Sets of heads of several sizes, ranked or drawn in one way."""

    name: str
    """``top``, ``random 0``, ``layer-matched 0`` and so on."""
    sets: tuple[tuple[Head, ...], ...]
    """One for each size."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Each set as ``L4H0 L5H2``."""
        return tuple(" ".join(f"L{layer}H{head}" for layer, head in heads) for heads in self.sets)


def head_sets_of(maps: HeadMaps, stage: str, ks: Sequence[int], draws: int, seed: int) -> tuple[HeadSets, ...]:
    """The strongest K heads of a stage for each of ``ks``, and their controls, ``draws`` of each kind.

    Both are drawn from the heads outside the strongest K: random sets from all layers, layer-matched ones with as many
    in each layer, as far as there are (see ``layer_matched_random_k``).
    """
    _, layers, heads = maps.mean.shape
    shape = (layers, heads)
    top = HeadSets("top", tuple(maps.top(stage, k, seed).heads for k in ks))
    seeds = np.random.SeedSequence(seed).generate_state(2 * draws).tolist()
    random = [
        HeadSets(f"random {draw}", tuple(headsets.random_k(shape, chosen, seed=seeds[draw]) for chosen in top.sets))
        for draw in range(draws)
    ]
    matched = [
        HeadSets(
            f"layer-matched {draw}",
            tuple(headsets.layer_matched_random_k(shape, chosen, seed=seeds[draws + draw]) for chosen in top.sets),
        )
        for draw in range(draws)
    ]
    return (top, *random, *matched)


def extremes_of(maps: HeadMaps, ks: Sequence[int], draws: int, seed: int) -> tuple[HeadSets, ...]:
    """The strongest and the weakest K heads over all stages for each of ``ks``, and ``draws`` sets of heads outside the
    strongest K."""
    _, layers, heads = maps.mean.shape
    shape = (layers, heads)
    top = HeadSets("top", tuple(maps.strongest(k, seed).heads for k in ks))
    bottom = HeadSets("bottom", tuple(maps.weakest(k, seed).heads for k in ks))
    seeds = np.random.SeedSequence(seed).generate_state(draws).tolist()
    random = [
        HeadSets(f"random {draw}", tuple(headsets.random_k(shape, chosen, seed=each) for chosen in top.sets))
        for draw, each in enumerate(seeds)
    ]
    return (top, bottom, *random)


def names_of(sets: Sequence[HeadSets]) -> list[str]:
    """The coordinate ``set`` of an intervention's data."""
    return [each.name for each in sets]


def rows_by_size(
    values: Float[Tensor, "layer pos head d_head"],
    positions: Sequence[int],
    sets: HeadSets,
    doses: Sequence[float] | None = None,
    stage: str = "id_selection",
) -> list[Rows]:
    """Rows for each size of ``sets``, at the site of a stage: its heads' ``values`` are replaced at ``positions``.

    With ``doses``, each dose times the values is added instead, a row a dose.
    """
    return [head_sets(values, positions, np.array(heads), (len(heads),), doses, SITES[stage]) for heads in sets.sets]


def with_unedited(blocks: Iterable[Rows]) -> Rows:
    """An unedited row, then the rows of all blocks."""
    return reduce(add, blocks, unedited())


def warnings_of(maps: HeadMaps, stage: str, ks: Sequence[int], seed: int) -> tuple[str, ...]:
    """For each K what is arbitrary about its set, and that it holds heads not above the noise; empty for nothing."""
    return tuple(maps.top(stage, k, seed).warning for k in ks)


def heads_of(reader: Reader) -> int:
    """How many heads the decoder has, known without weights."""
    text = reader.config.get_text_config()
    return text.num_hidden_layers * text.num_attention_heads


def sizes_of(spec: Any, heads: int) -> tuple[int, ...]:
    """The field ``ks`` of a spec for a model of so many ``heads``.

    A default grid is cut at half of all heads, so that as many others are left to compare with. Sizes of the user's own
    are kept, and so is a grid of which nothing would be left: ``check_sizes`` refuses larger ones.
    """
    default = next(field.default for field in fields(spec) if field.name == "ks")
    cut = tuple(k for k in spec.ks if k <= headsets.largest_k(heads))
    return cut if cut and spec.ks == default else spec.ks


def check_sizes(ks: Sequence[int], reader: Reader, field: str = "ks") -> None:
    """Raises FinstError for no sizes, repeated ones, and sets of more than half of the model's heads."""
    count = heads_of(reader)
    half = headsets.largest_k(count)
    if not ks or len(set(ks)) < len(ks):
        raise FinstError(f"{field} is {tuple(ks)}: expected one or more different numbers of heads")
    wrong = [k for k in ks if not 1 <= k <= half]
    if wrong:
        raise FinstError(
            f"{field} holds {wrong[0]}: {reader.id} has {count} heads, so expected numbers from 1 to {half}, half of "
            "them, as controls are drawn from the others"
        )


def check_shape(maps: HeadMaps, folder: Path, reader: Reader) -> None:
    """Raises FinstError for maps, from the run in ``folder``, of a model with other layers or heads."""
    text = reader.config.get_text_config()
    here, there = (text.num_hidden_layers, text.num_attention_heads), maps.mean.shape[1:]
    if here != there:
        raise FinstError(
            f"{folder} holds causal mediation of a model of {there[0]} layers with {there[1]} heads, and {reader.id} "
            f"has {here[0]} with {here[1]}: expected a run of the same model"
        )


def check_maps(maps: HeadMaps | None, vlm: VLM) -> HeadMaps:
    """The maps, if they are of this model. Raises FinstError when they are missing or of other weights."""
    if maps is None:
        raise FinstError(
            "this experiment edits the heads that causal mediation ranks highest: expected a run (finst run cma)"
        )
    if maps.weights != vlm.weights_hash:
        raise FinstError(
            f"the run of causal mediation measured other weights ({maps.weights[:12]}) than those of {vlm.reader.id} "
            f"({vlm.weights_hash[:12]}): expected a run of the same model"
        )
    return maps
