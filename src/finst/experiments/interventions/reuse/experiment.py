"""Position IDs of scene description, written into spatial questions (Fig 5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from finst.engine.edits import Rows
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits
from finst.experiments.interventions.effects import selected_effects, selection_split
from finst.experiments.interventions.estimates import Prototypes, by_cell, check_disjoint
from finst.experiments.interventions.heads import (
    HeadSets,
    check_sizes,
    head_sets_of,
    heads_of,
    names_of,
    rows_by_size,
    sizes_of,
    warnings_of,
    with_unedited,
)
from finst.experiments.interventions.protocol import Intervention, InterventionReport, Prepared, check_intervention
from finst.experiments.interventions.reuse.design import GRID, ROLES, SpatialQuestion, questions
from finst.experiments.interventions.reuse.report import MODES, reuse_effects, reuse_figures, reuse_findings
from finst.experiments.interventions.reuse.spec import ReuseSpec
from finst.experiments.interventions.unit_data import (
    COLOUR_ANSWERS,
    EDITED_HEADS,
    edited_rows,
    head_variables,
    role_indices,
)
from finst.prompts import STEPS
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.scenes.draw import draw
from finst.scenes.sets import Staged, unique_objects
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM, Reader

STAGE = "id_selection"

ATTRS = {"title": "Position IDs of scene description in spatial questions", "paper": "arXiv 2506.15871, Fig 5"}

DOCUMENTATION = {
    **COLOUR_ANSWERS,
    **EDITED_HEADS,
    "estimated_from": ("trials", "descriptions behind the ID of each cell"),
}


class Reuse(Intervention[ReuseSpec]):
    """IDs estimated from scene descriptions, written at the last token of spatial questions."""

    name = "reuse"
    spec = ReuseSpec
    report = InterventionReport(reuse_figures, reuse_findings, reuse_effects)
    attrs = ATTRS
    documentation = DOCUMENTATION
    ranked_by = STAGE
    shared = ("heads", "warning", "estimated_from")
    kept = ("said_before", *shared)

    def check(self, spec: ReuseSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, or unsuitable pictures."""
        check_intervention(spec)
        check_sizes(sizes_of(spec, heads_of(reader)), reader)
        asked = questions(spec)
        check_disjoint([each.scene for each in staged_of(spec)], [question.scene for question in asked])
        asked[0].encoded(reader)

    def trials(self, spec: ReuseSpec) -> int:
        """The number of questions; relations take turns."""
        return len(STEPS) * spec.trials

    def estimate(self, vlm: VLM, spec: ReuseSpec) -> Prototypes:
        """IDs of all cells, from descriptions of pictures that no question is about."""
        return by_cell(vlm, GRID, staged_of(spec), spec.placement, batch=spec.batch)

    def measure(self, vlm: VLM, spec: ReuseSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, mode, set, k, dose: whose colour is named with every edit, and without any."""
        every, ids = questions(spec), prepared.estimates
        trials = [every[index] for index in unit.trials]
        maps, ks = prepared.maps, sizes_of(spec, prepared.maps.heads)
        sets = head_sets_of(maps, STAGE, ks, spec.draws, spec.seed)
        contexts = [question.encoded(vlm.reader) for question in trials]
        rows = [edit_rows(spec, sets, ids, *pair) for pair in zip(trials, contexts, strict=True)]
        named = role_indices(decode_with_edits(vlm, contexts, rows, batch=spec.batch), trials, ROLES)
        edits = {"mode": [*MODES], "set": names_of(sets), "k": ks, "dose": spec.doses}
        return self.dataset(
            unit,
            edits,
            {
                **edited_rows("said", named, edits),
                **head_variables(sets, warnings_of(maps, STAGE, ks, spec.seed)),
                "estimated_from": ("cell", np.array(ids.counts)),
            },
            {"relation": ("trial", np.array([question.relation for question in trials])), "role": [*ROLES]},
        )

    def analyse(self, spec: ReuseSpec, data: xr.Dataset) -> xr.Dataset:
        """Shares of hits of every edit in both halves, and the effect of the chosen one on the reporting half.

        A hit names the colour in the cell whose ID is written.
        """
        wanted = xr.DataArray([ROLES.index(mode) for mode in MODES], dims="mode", coords={"mode": list(MODES)})
        hits, before = data["said"] == wanted, data["said_before"] == wanted
        relations = data["relation"].values.tolist()
        choosing = selection_split(relations, spec.seed)
        shares = [hits.isel(trial=half).mean("trial") for half in (choosing, ~choosing)]
        share = xr.concat(shares, xr.Variable("half", ["choosing", "reporting"])).assign_attrs(
            units="1", long_name="share of hits: the colour in the cell whose ID is written is named"
        )
        return selected_effects(before, hits, choosing, relations, spec.alpha, at_chosen=True).assign(share=share)

    def example(self, spec: ReuseSpec, reader: Reader) -> TrialExample:
        """The first question."""
        question = questions(spec)[0]
        context = question.encoded(reader)
        last = (context.tokens.last,)
        return trial_example(
            reader, draw(question.scene), context, question.prompt.answer, last, targets=[question.answer]
        )


def staged_of(spec: ReuseSpec) -> tuple[Staged, ...]:
    """The pictures behind the IDs: descriptions of every object in every cell."""
    return unique_objects(GRID, "high", spec.estimation, spec.seed, "fresh")


def edit_rows(
    spec: ReuseSpec, sets: Sequence[HeadSets], ids: Prototypes, question: SpatialQuestion, context: Encoded
) -> Rows:
    """An unedited row, then one for every mode, set, K and dose, in this order."""
    d, last = ids.layers, (context.tokens.last,)
    written = {"answer": d[question.answer], "elsewhere": d[question.elsewhere] - d[question.answer]}
    return with_unedited(
        rows for mode in MODES for each in sets for rows in rows_by_size(written[mode], last, each, spec.doses)
    )
