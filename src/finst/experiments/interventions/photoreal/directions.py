"""Directions from left to right in each stage, estimated from mirrored pictures, and the rows that add them (Fig 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.analysis.mediation import STAGES
from finst.engine.activations import sampled
from finst.engine.edits import Rows
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.estimates import random_like
from finst.experiments.interventions.heads import SITES, HeadSets, head_sets_of, rows_by_size, sizes_of
from finst.experiments.interventions.photoreal.design import SideTrial
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, Reader
from finst.vlm.tokens import Kind

TOKENS: Mapping[str, tuple[Kind, ...]] = {
    "id_retrieval": ("colour", "noun"),
    "id_selection": ("last",),
    "feature_retrieval": ("last",),
}
"""Where each stage is read and edited: at the words that describe a thing, or at the last token. Tokens are aligned by
their role and never by counting, since words differ in their numbers of tokens."""

KINDS: tuple[Kind, ...] = ("colour", "noun", "last")


@dataclass(frozen=True, eq=False)
class Directions:
    """The difference in each stage between a described thing on the right and one on the left."""

    to_right: Mapping[str, Float[Tensor, "token layer head d_head"]]
    """By stage, d_right - d_left for each of its ``TOKENS``: means of contexts that describe the right, or the left
    thing, over all of them (and over all tokens of a word)."""
    contexts: int
    """Behind the means of each side."""
    right: float
    """Share of these that are continued exactly with the other thing."""


def directions(vlm: VLM, spec: PhotorealSpec, trials: Sequence[SideTrial]) -> Directions:
    """Differences of means over ``trials``, half of which describe the left thing and half the right one.

    In ID retrieval the described thing is the relevant one; later it is the other, which always stands on the other
    side.
    """
    shape = (2, len(KINDS), vlm.n_layers, vlm.n_heads, vlm.d_head)
    sites: tuple[Literal["z", "q"], ...] = ("z", "q")
    total = {site: torch.zeros(shape, dtype=torch.float64) for site in sites}
    right = 0
    for start in range(0, len(trials), spec.batch):
        chunk = trials[start : start + spec.batch]
        contexts = [answered(vlm.reader, spec, trial) for trial in chunk]
        positions, weights = _slots(contexts)
        passes = sampled(vlm, contexts, sites, positions, batch=spec.batch)
        right += int(passes.exact.sum())
        side = torch.tensor([trial.described for trial in chunk])
        for site in sites:
            values = passes.values[site].to(torch.float64)
            total[site].index_add_(0, side, torch.einsum("cks,clshd->cklhd", weights, values))
    each = len(trials) // 2
    differences = {site: (summed[1] - summed[0]) / each for site, summed in total.items()}
    to_right = {
        stage: differences[site][[KINDS.index(kind) for kind in TOKENS[stage]]].to(vlm.device, vlm.dtype)
        for stage, site in SITES.items()
    }
    return Directions(to_right, each, right / len(trials))


def answered(reader: Reader, spec: PhotorealSpec, trial: SideTrial) -> Encoded:
    """A trial with its right answer."""
    picture, prompt, _ = trial.encoded(reader, spec)
    return encode(reader, picture, prompt, prompt.answer)


def _slots(
    contexts: Sequence[Encoded],
) -> tuple[Int[np.ndarray, "context slot"], Float[Tensor, "context kind slot"]]:
    """Where each context is read, and the weight of each slot in the mean of each of ``KINDS``.

    Contexts with fewer tokens to read than others read their last one again, with no weight.
    """
    places = [[context.tokens.positions(kind) for kind in KINDS] for context in contexts]
    width = max(sum(map(len, by_kind)) for by_kind in places)
    positions = np.repeat([[context.tokens.last] for context in contexts], width, axis=1)
    weights = torch.zeros(len(contexts), len(KINDS), width, dtype=torch.float64)
    for index, by_kind in enumerate(places):
        start = 0
        for kind, where in enumerate(by_kind):
            slots = slice(start, start + len(where))
            positions[index, slots], weights[index, kind, slots] = where, 1 / len(where)
            start = slots.stop
    return positions, weights


@dataclass(frozen=True, eq=False)
class SteeredHeads:
    """Sets of heads, and the direction that moves them to the right."""

    heads: HeadSets
    to_right: Float[Tensor, "token layer head d_head"]


def steered_heads(maps: HeadMaps, spec: PhotorealSpec, stage: str, estimate: Directions) -> tuple[SteeredHeads, ...]:
    """The strongest heads of a stage and their controls: other heads, and random directions of the same lengths."""
    to_right = estimate.to_right[stage]
    top, *others = head_sets_of(maps, stage, sizes_of(spec, maps.heads), spec.draws, spec.seed)
    rng = np.random.default_rng([spec.seed, 2, STAGES.index(stage)])
    random = [HeadSets(f"random direction {draw}", top.sets) for draw in range(spec.draws)]
    return (
        *(SteeredHeads(sets, to_right) for sets in (top, *others)),
        *(SteeredHeads(sets, random_like(to_right, rng)) for sets in random),
    )


def edit_rows(
    spec: PhotorealSpec, stage: str, steered: Sequence[SteeredHeads], trial: SideTrial, context: Encoded
) -> Rows:
    """A row for every set, K and dose, in this order (paper, section "Interventions": o + alpha (d_t - d_o)).

    Each makes the stage work as if the described thing stood on the other side: ID retrieval then finds the other
    side's ID, which leaves the described thing to be named; ID selection and feature retrieval get the described
    thing's own.
    """
    where = [(pos, token) for token, kind in enumerate(TOKENS[stage]) for pos in context.tokens.positions(kind)]
    positions, tokens = [pos for pos, _ in where], [token for _, token in where]
    away = 1 - 2 * trial.described
    return reduce(
        add,
        (
            rows
            for each in steered
            for rows in rows_by_size(
                each.to_right[tokens].transpose(0, 1) * away, positions, each.heads, spec.doses, stage
            )
        ),
    )
