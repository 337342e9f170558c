"""Steering which of two things is named, in every stage of the mechanism: grids of K and dose (Figs 3b, 37-43)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from jaxtyping import Int8

from finst.analysis.mediation import STAGES
from finst.engine.edits import Rows, unedited
from finst.errors import FinstError
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits
from finst.experiments.interventions.heads import check_sizes, heads_of, sizes_of, warnings_of
from finst.experiments.interventions.photoreal.design import (
    ROLES,
    Split,
    check_words,
    pictures_of,
    places_of,
    shown,
    split_of,
)
from finst.experiments.interventions.photoreal.directions import Directions, directions, edit_rows, steered_heads
from finst.experiments.interventions.photoreal.report import photoreal_effects, photoreal_figures, photoreal_findings
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.experiments.interventions.photoreal.summary import summary_of
from finst.experiments.interventions.protocol import Intervention, InterventionReport, Prepared, check_intervention
from finst.experiments.interventions.shown_pictures import DOCUMENTED, READING
from finst.experiments.interventions.unit_data import (
    COLOUR_ANSWERS,
    EDITED_HEADS,
    edited_rows,
    role_indices,
    staged_head_variables,
)
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
        check_intervention(spec)
        check_sizes(sizes_of(spec, heads_of(reader)), reader)
        split = shown_split_of(reader, spec)
        check_words(reader, split, spec)
        prompts = [trial.encoded(reader, spec)[1] for trial in (*split.test, *split.estimation[::2])]
        first_tokens(reader, prompts[0], split.colours)

    def trials(self, spec: PhotorealSpec) -> int:
        """The number of trials."""
        return spec.trials

    def estimate(self, vlm: VLM, spec: PhotorealSpec) -> Mapping[str, Directions]:
        """Directions by place, from pictures that are not tested on."""
        trials = shown_split_of(vlm.reader, spec).estimation
        return {
            place: directions(vlm, spec, [trial for trial in trials if trial.two_things.place == place])
            for place in places_of(trial.two_things for trial in trials)
        }

    def measure(self, vlm: VLM, spec: PhotorealSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, stage, set, k, dose: whose colour is named with every edit, and without any.

        All rows of a stage go through the model together, once a picture.
        """
        split = shown_split_of(vlm.reader, spec)
        trials = [split.test[index] for index in unit.trials]
        contexts = [trial.encoded(vlm.reader, spec)[2] for trial in trials]
        estimates: Mapping[str, Directions] = prepared.estimates
        ks = sizes_of(spec, prepared.maps.heads)
        steered = {
            (place, stage): steered_heads(prepared.maps, spec, stage, estimate)
            for place, estimate in estimates.items()
            for stage in STAGES
        }

        def named(rows: Sequence[Rows]) -> Int8[np.ndarray, "trial row"]:
            return role_indices(decode_with_edits(vlm, contexts, rows, batch=spec.batch), trials, ROLES)

        pairs = list(zip(trials, contexts, strict=True))
        by_stage = [
            named([edit_rows(spec, stage, steered[pair[0].two_things.place, stage], *pair) for pair in pairs])
            for stage in STAGES
        ]
        before = named([unedited()] * len(trials))
        sets = {stage: [each.heads for each in steered[next(iter(estimates)), stage]] for stage in STAGES}
        edits = {
            "stage": STAGES,
            "set": [each.name for each in sets[STAGES[0]]],
            "k": ks,
            "dose": spec.doses,
        }
        return self.dataset(
            unit,
            edits,
            {
                **edited_rows("said", np.concatenate([before, *by_stage], axis=1), edits),
                **staged_head_variables(
                    sets, {stage: warnings_of(prepared.maps, stage, ks, spec.seed) for stage in STAGES}
                ),
                "estimated_from": ("place", np.array([estimate.contexts for estimate in estimates.values()])),
                "estimated_right": ("place", np.array([estimate.right for estimate in estimates.values()])),
                "unmirrored": ((), split.unmirrored),
                READING: ((), "\n".join(split.reading)),
            },
            {
                "side": ("trial", np.array([trial.side for trial in trials])),
                "of_place": ("trial", np.array([trial.two_things.place for trial in trials])),
                "place": [*estimates],
                "role": [*ROLES],
            },
        )

    def analyse(self, spec: PhotorealSpec, data: xr.Dataset) -> xr.Dataset:
        """Dims place, stage, set, k, dose, group: see ``summary_of``."""
        return summary_of(data, spec.seed, spec.alpha)

    def example(self, spec: PhotorealSpec, reader: Reader) -> TrialExample:
        """The first trial."""
        trial = shown_split_of(reader, spec).test[0]
        picture, prompt, context = trial.encoded(reader, spec)
        read = (*context.tokens.described(trial.described), context.tokens.last)
        return trial_example(reader, picture, context, prompt.answer, read, targets=[1 - trial.described])
