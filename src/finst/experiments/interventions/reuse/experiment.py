"""Position IDs of one task in another: those of scene description, written into spatial questions (Fig 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import xarray as xr

from finst.engine.edits import Rows, unedited
from finst.engine.head_sets import head_sets
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits, role_of
from finst.experiments.interventions.effects import argmax_setting, effects, selection_split
from finst.experiments.interventions.estimates import Prototypes, by_cell, check_disjoint
from finst.experiments.interventions.heads import HeadSets, check_sizes, head_sets_of, warnings_of
from finst.experiments.interventions.protocol import (
    Intervention,
    InterventionReport,
    Prepared,
    check_intervention,
    require_identical,
)
from finst.experiments.interventions.reuse.report import reuse_effects, reuse_figures, reuse_findings
from finst.experiments.interventions.reuse.spec import ReuseSpec
from finst.experiments.units import check_numbers, documented, joined, spec_attrs, units_of
from finst.prompts import STEPS, Prompt, Relation, spatial_relation
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.scenes.designs import features
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Scene, on_grid
from finst.scenes.sets import unique_objects
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, Reader

STAGE = "id_selection"
GRID = Grid(3, 3)

ATTRS = {"title": "Position IDs of scene description in spatial questions", "paper": "arXiv 2506.15871, Fig 5"}

MODES = ("answer", "elsewhere")
"""What is written: the ID of the answer's cell, added (the paper's); or another cell's instead of the answer's, which
asks of models that are always right whether the ID is heeded at all."""

ROLES = ("answer", "elsewhere", "reference", "other", "none")
"""Whose colour is named: the answer's, that of the cell whose ID is written elsewhere, of the question's reference, of
another object, or none of the scene's."""

DOCUMENTATION = {
    "said": ("1", "whose colour is named, as an index of role"),
    "said_before": ("1", "the same without an edit"),
    "heads": ("1", "the heads that are edited"),
    "warning": ("1", "what is arbitrary about the K strongest heads; empty if nothing"),
    "estimated_from": ("trials", "descriptions behind the ID of each cell"),
}


@dataclass(frozen=True)
class Question:
    """A spatial question; objects are numbered as the grid's cells."""

    scene: Scene
    prompt: Prompt
    relation: Relation
    answer: int
    reference: int
    elsewhere: int
    """A cell that the question is not about; its ID is written in mode ``elsewhere``."""

    @property
    def roles(self) -> dict[str, str]:
        """Roles by colour word; every colour is there once."""
        of = {self.answer: "answer", self.reference: "reference", self.elsewhere: "elsewhere"}
        return {obj.colour: of.get(cell, "other") for cell, obj in enumerate(self.scene.objects)}


def estimated(vlm: VLM, spec: ReuseSpec) -> Prototypes:
    """IDs of all cells, from descriptions of pictures that no question is about."""
    staged = unique_objects(GRID, "high", spec.estimation, spec.seed, "fresh")
    check_disjoint([one.scene for one in staged], [question.scene for question in questions(spec)])
    return by_cell(vlm, GRID, staged, spec.placement, batch=spec.batch)


class Reuse(Intervention[ReuseSpec]):
    """The experiment."""

    name = "reuse"
    spec = ReuseSpec
    report = InterventionReport(reuse_figures, reuse_findings, reuse_effects)

    def check(self, spec: ReuseSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, or unsuitable pictures."""
        check_numbers(spec, {"trials": 2, "estimation": 1})
        check_intervention(spec, spec.doses)
        check_sizes(spec.ks, reader)
        _context(reader, questions(spec)[0])

    def estimate(self, vlm: VLM, spec: ReuseSpec) -> Prototypes:
        """Raises FinstError as ``estimated``."""
        return estimated(vlm, spec)

    def plan(self, spec: ReuseSpec) -> tuple[Unit, ...]:
        """Consecutive questions; relations take turns."""
        return units_of(len(STEPS) * spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: ReuseSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, mode, set, k, dose: whose colour is named with every edit, and without any."""
        maps = prepared.maps
        every = questions(spec)
        asked = [every[index] for index in unit.trials]
        ids = prepared.estimates
        sets = head_sets_of(maps, STAGE, spec.ks, spec.draws, spec.seed)
        contexts = [_context(vlm.reader, question) for question in asked]
        rows = [edits(spec, sets, ids, *one) for one in zip(asked, contexts, strict=True)]
        texts = decode_with_edits(vlm, contexts, rows, batch=spec.batch)
        roles = np.array(
            [
                [ROLES.index(role_of(text, question.roles)) for text in row]
                for row, question in zip(texts, asked, strict=True)
            ]
        )
        shape = (len(asked), len(MODES), len(sets), len(spec.ks), len(spec.doses))
        data = xr.Dataset(
            {
                "said": (("trial", "mode", "set", "k", "dose"), roles[:, 1:].reshape(shape).astype(np.int8)),
                "said_before": ("trial", roles[:, 0].astype(np.int8)),
                "heads": (("set", "k"), np.array([one.texts for one in sets])),
                "warning": ("k", np.array(warnings_of(maps, STAGE, spec.ks, spec.seed))),
                "estimated_from": ("cell", np.array(ids.counts)),
            },
            coords={
                "trial": list(unit.trials),
                "relation": ("trial", np.array([question.relation for question in asked])),
                "mode": list(MODES),
                "set": [one.name for one in sets],
                "k": list(spec.ks),
                "dose": list(spec.doses),
                "role": list(ROLES),
            },
            attrs=ATTRS,
        )
        return documented(data, DOCUMENTATION)

    def summarise(self, spec: ReuseSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Shares of hits of every edit in both halves, and the effect of the chosen one on the reporting half.

        A hit names the colour in the cell whose ID is written. Raises FinstError when parts were measured with other
        heads.
        """
        data = joined(require_identical(parts, ("heads", "warning", "estimated_from")))
        wanted = xr.DataArray([ROLES.index(mode) for mode in MODES], dims="mode", coords={"mode": list(MODES)})
        hits, before = data["said"] == wanted, data["said_before"] == wanted
        relations = data["relation"].values
        choosing = selection_split(relations.tolist(), spec.seed)
        shares = [hits.isel(trial=half).mean("trial") for half in (choosing, ~choosing)]
        share = xr.concat(shares, xr.Variable("half", ["choosing", "reporting"])).assign_attrs(
            units="1", long_name="share of hits: the colour in the cell whose ID is written is named"
        )
        of_top = share.sel(half="choosing", set="top").transpose("mode", "k", "dose")
        chosen = [argmax_setting(one) for one in of_top]
        settings = {name: xr.DataArray([one[name] for one in chosen], dims="mode") for name in ("k", "dose")}
        at = hits.isel(trial=~choosing).sel({"mode": wanted["mode"], **settings}).reset_coords(["k", "dose"], drop=True)
        found = effects(before.isel(trial=~choosing), at, relations[~choosing].tolist(), 1 - spec.alpha)
        return (
            found.assign(
                share=share,
                chosen_k=settings["k"],
                chosen_dose=settings["dose"],
                choosing=("trial", choosing),
            )
            .assign({name: data[name] for name in DOCUMENTATION if name != "said"})
            .assign_attrs({**ATTRS, **spec_attrs(spec)})
        )

    def example(self, spec: ReuseSpec, reader: Reader) -> TrialExample:
        """The first question."""
        question = questions(spec)[0]
        context = _context(reader, question)
        return trial_example(reader, draw(question.scene), context, question.prompt.answer, (context.tokens.last,))


def questions(spec: ReuseSpec) -> tuple[Question, ...]:
    """``spec.trials`` of each relation, relations taking turns, every pair of cells equally often (within one)."""
    rng = np.random.default_rng([spec.seed, 1])
    columns = []
    for relation in STEPS:
        pairs = [(cell, near) for cell in range(len(GRID.cells)) if (near := _next(cell, relation)) is not None]
        order = np.concatenate([rng.permutation(len(pairs)) for _ in range(-(-spec.trials // len(pairs)))])
        columns.append([_question(rng, relation, *pairs[place]) for place in order[: spec.trials].tolist()])
    return tuple(question for turn in zip(*columns, strict=True) for question in turn)


def _next(cell: int, relation: Relation) -> int | None:
    row, col = (a + b for a, b in zip(GRID.cells[cell], STEPS[relation], strict=True))
    return GRID.cells.index((row, col)) if (row, col) in GRID.cells else None


def _question(rng: np.random.Generator, relation: Relation, reference: int, answer: int) -> Question:
    scene = on_grid(features(rng, len(GRID.cells), "high"), GRID.cells, GRID)
    others = [cell for cell in range(len(GRID.cells)) if cell not in (reference, answer)]
    prompt = spatial_relation(scene, relation, reference)
    return Question(scene, prompt, relation, answer, reference, int(rng.choice(others)))


def _context(reader: Reader, question: Question) -> Encoded:
    return encode(reader, draw(question.scene), question.prompt)


def edits(spec: ReuseSpec, sets: Sequence[HeadSets], ids: Prototypes, question: Question, context: Encoded) -> Rows:
    """An unedited row, then one for every mode, set, K and dose, in this order."""
    d, last = ids.layers, (context.tokens.last,)
    written = (d[question.answer], d[question.elsewhere] - d[question.answer])
    rows = [
        head_sets(values, last, np.array(heads), (len(heads),), spec.doses)
        for values in written
        for one in sets
        for heads in one.sets
    ]
    return reduce(add, rows, unedited())
