"""Steering which of two things is named, in every stage of the mechanism: grids of K and dose (Figs 3b, 37-43)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from jaxtyping import Int8

from finst.analysis.mediation import STAGES
from finst.engine.edits import Rows, unedited
from finst.errors import FinstError
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits
from finst.experiments.interventions.effects import selected_effects, selection_split
from finst.experiments.interventions.heads import check_sizes, warnings_of
from finst.experiments.interventions.photoreal.design import (
    ROLES,
    Split,
    check_words,
    pictures_of,
    shown,
    split_of,
)
from finst.experiments.interventions.photoreal.directions import Directions, directions, edit_rows, steered_heads
from finst.experiments.interventions.photoreal.report import photoreal_effects, photoreal_figures, photoreal_findings
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.experiments.interventions.protocol import Intervention, InterventionReport, Prepared, check_intervention
from finst.experiments.interventions.shown_pictures import DOCUMENTED, READING
from finst.experiments.interventions.unit_data import (
    COLOUR_ANSWERS,
    EDITED_HEADS,
    edited_rows,
    role_indices,
    staged_head_variables,
)
from finst.experiments.units import units_of
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.vlm.encode import first_tokens
from finst.vlm.open import VLM, Reader

ATTRS = {"title": "Steering which of two things is named", "paper": "arXiv 2506.15871, Figs 3b and 37-43"}

DOCUMENTATION = {
    **COLOUR_ANSWERS,
    **EDITED_HEADS,
    "estimated_from": ("contexts", "behind the means of each side"),
    "estimated_right": ("1", "share of these that are continued exactly with the other thing"),
    "unmirrored": ("pictures", "tested ones without their mirror image"),
    **DOCUMENTED,
}


def shown_split_of(reader: Reader, spec: PhotorealSpec) -> Split:
    """``split_of`` the pictures that the model can be shown; raises its errors with what is said about the others."""
    pictures, lines = shown(reader, spec, pictures_of(spec))
    try:
        return replace(split_of(pictures, spec), reading=lines)
    except FinstError as cause:
        raise FinstError("; ".join((str(cause), *lines))) from cause


class Photoreal(Intervention[PhotorealSpec]):
    """Directions between the sides, added so that the described thing is named again."""

    name = "photoreal"
    spec = PhotorealSpec
    report = InterventionReport(photoreal_figures, photoreal_findings, photoreal_effects)
    attrs = ATTRS
    documentation = DOCUMENTATION
    shared = ("heads", "warning", "estimated_from", "estimated_right", "unmirrored", READING)

    def check(self, spec: PhotorealSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, pictures that cannot be split, words
        that the tokenizer does not know, any picture that is damaged or does not suit the model, and colours that begin
        with the same token: the edit acts on the first one."""
        check_intervention(spec, {"trials": 4, "estimation": 2}, spec.doses)
        check_sizes(spec.ks, reader)
        split = shown_split_of(reader, spec)
        check_words(reader, split, spec)
        prompts = [trial.encoded(reader, spec)[1] for trial in (*split.test, *split.estimation[::2])]
        first_tokens(reader, prompts[0], split.colours)

    def plan(self, spec: PhotorealSpec) -> tuple[Unit, ...]:
        """Consecutive trials."""
        return units_of(spec.trials, spec.trials_per_unit)

    def estimate(self, vlm: VLM, spec: PhotorealSpec) -> Directions:
        """Directions from pictures that are not tested on."""
        return directions(vlm, spec, shown_split_of(vlm.reader, spec).estimation)

    def measure(self, vlm: VLM, spec: PhotorealSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, stage, set, k, dose: whose colour is named with every edit, and without any.

        All rows of a stage go through the model together, once a picture.
        """
        split = shown_split_of(vlm.reader, spec)
        trials = [split.test[index] for index in unit.trials]
        contexts = [trial.encoded(vlm.reader, spec)[2] for trial in trials]
        steered = {stage: steered_heads(prepared.maps, spec, stage, prepared.estimates) for stage in STAGES}

        def named(rows: Sequence[Rows]) -> Int8[np.ndarray, "trial row"]:
            return role_indices(decode_with_edits(vlm, contexts, rows, batch=spec.batch), trials, ROLES)

        pairs = list(zip(trials, contexts, strict=True))
        by_stage = [named([edit_rows(spec, stage, steered[stage], *pair) for pair in pairs]) for stage in STAGES]
        before = named([unedited()] * len(trials))
        sets = {stage: [each.heads for each in steered[stage]] for stage in STAGES}
        edits = {
            "stage": STAGES,
            "set": [each.name for each in sets[STAGES[0]]],
            "k": spec.ks,
            "dose": spec.doses,
        }
        return self.dataset(
            unit,
            edits,
            {
                **edited_rows("said", np.concatenate([before, *by_stage], axis=1), edits),
                **staged_head_variables(
                    sets, {stage: warnings_of(prepared.maps, stage, spec.ks, spec.seed) for stage in STAGES}
                ),
                "estimated_from": ((), prepared.estimates.contexts),
                "estimated_right": ((), prepared.estimates.right),
                "unmirrored": ((), split.unmirrored),
                READING: ((), "\n".join(split.reading)),
            },
            {"side": ("trial", np.array([trial.side for trial in trials])), "role": [*ROLES]},
        )

    def analyse(self, spec: PhotorealSpec, data: xr.Dataset) -> xr.Dataset:
        """Dims stage, set, k, dose, group: effects on the reporting half, and what was chosen for each stage and set.

        A hit names the described thing's colour. ``chosen_k`` and ``chosen_dose`` are the best on the choosing half,
        both sides together; each control has its own, so that it may gain from the choice as well.
        """
        hits, before = (data[name] == ROLES.index("described") for name in ("said", "said_before"))
        sides = data["side"].values.tolist()
        choosing = selection_split(sides, spec.seed)
        share = hits.isel(trial=choosing).mean("trial").transpose("stage", "set", "k", "dose")
        right = (data["said_before"] == ROLES.index("target")).isel(trial=~choosing)
        return selected_effects(before, hits, choosing, sides, spec.alpha, criterion=hits).assign(
            choosing_share=share.assign_attrs(units="1", long_name="share of hits on the choosing half"),
            right_before=right.mean().assign_attrs(units="1", long_name="share right without an edit"),
        )

    def example(self, spec: PhotorealSpec, reader: Reader) -> TrialExample:
        """The first trial."""
        trial = shown_split_of(reader, spec).test[0]
        picture, prompt, context = trial.encoded(reader, spec)
        read = (*context.tokens.described(trial.described), context.tokens.last)
        return trial_example(reader, picture, context, prompt.answer, read)
