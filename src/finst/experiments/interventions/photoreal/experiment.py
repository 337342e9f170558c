"""Steering which of two things is named, in every stage of the mechanism: grids of K and dose (Figs 3b, 37-43)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from finst.analysis.mediation import STAGES
from finst.engine.activations import sampled
from finst.engine.edits import Rows, unedited
from finst.engine.head_sets import head_sets
from finst.engine.sites import Site
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits, role_of
from finst.experiments.interventions.effects import argmax_setting, effects, selection_split
from finst.experiments.interventions.estimates import random_like
from finst.experiments.interventions.heads import HeadSets, check_sizes, head_sets_of, warnings_of
from finst.experiments.interventions.photoreal.design import ROLES, Question, check_words, sided_of, split_of
from finst.experiments.interventions.photoreal.report import photoreal_effects, photoreal_figures, photoreal_findings
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.experiments.interventions.protocol import (
    Intervention,
    InterventionReport,
    Prepared,
    check_intervention,
    require_identical,
)
from finst.experiments.units import check_numbers, documented, joined, spec_attrs, units_of
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.vlm.encode import Encoded, encode, first_tokens
from finst.vlm.open import VLM, Reader
from finst.vlm.tokens import Kind

ATTRS = {"title": "Steering which of two things is named", "paper": "arXiv 2506.15871, Figs 3b and 37-43"}

SITES: Mapping[str, Site] = {"id_retrieval": "z", "id_selection": "z", "feature_retrieval": "q"}
"""What is edited in each stage: heads' outputs, or queries before rotary positions."""

TOKENS: Mapping[str, tuple[Kind, ...]] = {
    "id_retrieval": ("colour", "noun"),
    "id_selection": ("last",),
    "feature_retrieval": ("last",),
}
"""Where: at the words that describe a thing, or at the last token. Tokens are aligned by what they are and never by
counting, since words differ in their numbers of tokens."""

KINDS: tuple[Kind, ...] = ("colour", "noun", "last")

DOCUMENTATION = {
    "said": ("1", "whose colour is named, as an index of role"),
    "said_before": ("1", "the same without an edit"),
    "heads": ("1", "the heads that are edited"),
    "warning": ("1", "what is arbitrary about the K strongest heads; empty if nothing"),
    "estimated_from": ("contexts", "behind the means of each side"),
    "estimated_right": ("1", "share of these that are continued exactly with the other thing"),
    "unmirrored": ("pictures", "tested ones without their mirror image"),
}


@dataclass(frozen=True, eq=False)
class Steering:
    """What makes heads do as if the described thing stood on the right and not on the left."""

    to_right: Mapping[str, Float[Tensor, "token layer head d_head"]]
    """By stage, d_right - d_left for each of its ``TOKENS``: means of contexts that describe the right, or the left
    thing, over all of them (and over all tokens of a word)."""
    contexts: int
    """Behind the means of each side."""
    right: float
    """Share of these that are continued exactly with the other thing."""


def estimated(vlm: VLM, spec: PhotorealSpec) -> Steering:
    """From pictures that no question is about. In ID retrieval the described thing is the relevant one, later the
    other, which always stands on the other side."""
    asked = split_of(sided_of(spec), spec).estimation
    shape = (2, len(KINDS), vlm.n_layers, vlm.n_heads, vlm.d_head)
    total: dict[Site, Tensor] = {site: torch.zeros(shape, dtype=torch.float64) for site in SITES.values()}
    right = 0
    for start in range(0, len(asked), spec.batch):
        part = asked[start : start + spec.batch]
        contexts = [_answered(vlm.reader, spec, question) for question in part]
        positions, shares = _slots(contexts)
        passes = sampled(vlm, contexts, ("q", "z"), positions, batch=spec.batch)
        right += int(passes.exact.sum())
        side = torch.tensor([question.described for question in part])
        for site, summed in total.items():
            values = passes.values[site].to(torch.float64)  # pyright: ignore[reportArgumentType]
            summed.index_add_(0, side, torch.einsum("cks,clshd->cklhd", shares, values))
    each = len(asked) // 2
    return Steering(
        {
            stage: ((total[site][1] - total[site][0]) / each)[[KINDS.index(kind) for kind in TOKENS[stage]]].to(
                vlm.device, vlm.dtype
            )
            for stage, site in SITES.items()
        },
        each,
        right / len(asked),
    )


def _answered(reader: Reader, spec: PhotorealSpec, question: Question) -> Encoded:
    picture, prompt, _ = question.seen(reader, spec)
    return encode(reader, picture, prompt, prompt.answer)


def _slots(
    contexts: Sequence[Encoded],
) -> tuple[Int[np.ndarray, "context slot"], Float[Tensor, "context kind slot"]]:
    """Where each context is read, and the share that each slot has in the mean of each of ``KINDS``.

    Contexts with fewer tokens to read than others read their last one again, with no share.
    """
    places = [[context.tokens.positions(kind) for kind in KINDS] for context in contexts]
    width = max(sum(map(len, own)) for own in places)
    positions = np.repeat([[context.tokens.last] for context in contexts], width, axis=1)
    shares = torch.zeros(len(contexts), len(KINDS), width, dtype=torch.float64)
    for index, own in enumerate(places):
        start = 0
        for kind, where in enumerate(own):
            slots = slice(start, start + len(where))
            positions[index, slots], shares[index, kind, slots] = where, 1 / len(where)
            start = slots.stop
    return positions, shares


@dataclass(frozen=True, eq=False)
class Edits:
    """Sets of heads, and what moves them to the right."""

    heads: HeadSets
    to_right: Float[Tensor, "token layer head d_head"]


def edits_of(maps: HeadMaps, spec: PhotorealSpec, stage: str, steering: Steering) -> tuple[Edits, ...]:
    """Of one stage: the strongest heads, and their controls, which are other heads, and random directions of the same
    lengths in the strongest heads."""
    to_right = steering.to_right[stage]
    top, *others = head_sets_of(maps, stage, spec.ks, spec.draws, spec.seed)
    rng = np.random.default_rng([spec.seed, 2, STAGES.index(stage)])
    blind = [HeadSets(f"random direction {draw}", top.sets) for draw in range(spec.draws)]
    return (
        *(Edits(one, to_right) for one in (top, *others)),
        *(Edits(one, random_like(to_right, rng)) for one in blind),
    )


def rows_of(spec: PhotorealSpec, stage: str, edits: Sequence[Edits], question: Question, context: Encoded) -> Rows:
    """A row for every set, K and dose, in this order (paper, section "Interventions": o + alpha (d_t - d_o)).

    Each makes the stage work as if the described thing stood where the other one does: so this one's ID is retrieved,
    which leaves the described thing to be selected; or the described thing's own ID is selected, or asked for.
    """
    where = [(pos, token) for token, kind in enumerate(TOKENS[stage]) for pos in context.tokens.positions(kind)]
    away = 1 - 2 * question.described
    rows = []
    for one in edits:
        values = one.to_right[[token for _, token in where]].transpose(0, 1) * away
        rows += [
            head_sets(values, [pos for pos, _ in where], np.array(heads), (len(heads),), spec.doses, SITES[stage])
            for heads in one.heads.sets
        ]
    return reduce(add, rows)


class Photoreal(Intervention[PhotorealSpec]):
    """The experiment."""

    name = "photoreal"
    spec = PhotorealSpec
    report = InterventionReport(photoreal_figures, photoreal_findings, photoreal_effects)

    def check(self, spec: PhotorealSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, pictures that cannot be split, words
        that the model cannot say, any picture that is damaged or does not suit the model, and colours that begin with
        the same token: the edit acts on the first one."""
        check_numbers(spec, {"trials": 4, "estimation": 2})
        check_intervention(spec, spec.doses)
        check_sizes(spec.ks, reader)
        split = split_of(sided_of(spec), spec)
        check_words(reader, split, spec)
        prompts = [one.seen(reader, spec)[1] for one in (*split.test, *split.estimation[::2])]
        first_tokens(reader, prompts[0], split.colours)

    def estimate(self, vlm: VLM, spec: PhotorealSpec) -> Steering:
        """Raises FinstError as ``estimated``."""
        return estimated(vlm, spec)

    def plan(self, spec: PhotorealSpec) -> tuple[Unit, ...]:
        """Consecutive questions."""
        return units_of(spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: PhotorealSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, stage, set, k, dose: whose colour is named with every edit, and without any.

        All rows of a stage go through the model together, once a picture.
        """
        maps = prepared.maps
        split = split_of(sided_of(spec), spec)
        asked = [split.test[index] for index in unit.trials]
        steering = prepared.estimates
        edits = {stage: edits_of(maps, spec, stage, steering) for stage in STAGES}
        contexts = [question.seen(vlm.reader, spec)[2] for question in asked]

        def named(rows: Sequence[Rows]) -> Int[np.ndarray, "trial row"]:
            texts = decode_with_edits(vlm, contexts, rows, batch=spec.batch)
            every = zip(asked, texts, strict=True)
            return np.array([[ROLES.index(role_of(text, one.roles)) for text in row] for one, row in every], np.int8)

        found = [
            named([rows_of(spec, stage, edits[stage], *one) for one in zip(asked, contexts, strict=True)])
            for stage in STAGES
        ]
        sets = [one.heads.name for one in edits[STAGES[0]]]
        shape = (len(asked), len(STAGES), len(sets), len(spec.ks), len(spec.doses))
        data = xr.Dataset(
            {
                "said": (("trial", "stage", "set", "k", "dose"), np.stack(found, 1).reshape(shape)),
                "said_before": ("trial", named([unedited()] * len(asked))[:, 0]),
                "heads": (
                    ("stage", "set", "k"),
                    np.array([[one.heads.texts for one in edits[stage]] for stage in STAGES]),
                ),
                "warning": (
                    ("stage", "k"),
                    np.array([warnings_of(maps, stage, spec.ks, spec.seed) for stage in STAGES]),
                ),
                "estimated_from": ((), steering.contexts),
                "estimated_right": ((), steering.right),
                "unmirrored": ((), split.unmirrored),
            },
            coords={
                "trial": list(unit.trials),
                "side": ("trial", np.array([question.side for question in asked])),
                "stage": list(STAGES),
                "set": sets,
                "k": list(spec.ks),
                "dose": list(spec.doses),
                "role": list(ROLES),
            },
            attrs=ATTRS,
        )
        return documented(data, DOCUMENTATION)

    def summarise(self, spec: PhotorealSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims stage, set, k, dose, group: effects on the reporting half, and what was chosen for every stage and set.

        A hit names the described thing's colour. ``chosen_k`` and ``chosen_dose`` are the best on the choosing half,
        both sides together; each control has its own, so that it may gain from the choice as well. Raises FinstError
        when parts were measured with other heads or pictures.
        """
        data = joined(require_identical(parts, [name for name in DOCUMENTATION if not name.startswith("said")]))
        hits, before = (data[name] == ROLES.index("described") for name in ("said", "said_before"))
        sides = data["side"].values
        choosing = selection_split(sides.tolist(), spec.seed)
        share = hits.isel(trial=choosing).mean("trial").transpose("stage", "set", "k", "dose")
        best = [[argmax_setting(one) for one in of_stage] for of_stage in share]
        reported = before.isel(trial=~choosing), hits.isel(trial=~choosing)
        right = (data["said_before"] == ROLES.index("target")).isel(trial=~choosing)
        return (
            effects(*reported, sides[~choosing].tolist(), 1 - spec.alpha)
            .assign(
                choosing_share=share.assign_attrs(units="1", long_name="share of hits on the choosing half"),
                chosen_k=(("stage", "set"), [[cell["k"] for cell in row] for row in best]),
                chosen_dose=(("stage", "set"), [[cell["dose"] for cell in row] for row in best]),
                right_before=right.mean().assign_attrs(units="1", long_name="share right without an edit"),
                choosing=("trial", choosing),
            )
            .assign({name: data[name] for name in DOCUMENTATION})
            .assign_attrs({**ATTRS, **spec_attrs(spec)})
        )

    def example(self, spec: PhotorealSpec, reader: Reader) -> TrialExample:
        """The first question."""
        question = split_of(sided_of(spec), spec).test[0]
        picture, prompt, context = question.seen(reader, spec)
        read = (*context.tokens.described(question.described), context.tokens.last)
        return trial_example(reader, picture, context, prompt.answer, read)
