"""Do keys hold the position IDs of objects, at their own patches? Swapping those of two objects (Fig 4)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits
from finst.experiments.interventions.effects import selected_effects, selection_split
from finst.experiments.interventions.estimates import check_disjoint
from finst.experiments.interventions.heads import check_sizes, heads_of, warnings_of
from finst.experiments.interventions.key_swap.design import ROLES, estimation_questions, questions
from finst.experiments.interventions.key_swap.keys import STAGE, MeanKeys, edit_rows, key_edits, mean_keys, size_of
from finst.experiments.interventions.key_swap.report import PAPER, key_swap_effects, key_swap_figures, key_swap_findings
from finst.experiments.interventions.key_swap.spec import KeySwapSpec
from finst.experiments.interventions.protocol import Intervention, InterventionReport, Prepared, check_intervention
from finst.experiments.interventions.unit_data import COLOUR_ANSWERS, TIES, edited_rows, role_indices
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.scenes.draw import draw
from finst.vlm.open import VLM, Reader

ATTRS = {"title": "Keys of two objects swapped", "paper": "arXiv 2506.15871, Fig 4"}

DOCUMENTATION = {
    **COLOUR_ANSWERS,
    "heads": ("1", "the KV heads of the edit; * for all of a layer"),
    **TIES,
}


class KeySwap(Intervention[KeySwapSpec]):
    """Keys at the patches of two objects, moved from their own side towards the other one's."""

    name = "key-swap"
    spec = KeySwapSpec
    report = InterventionReport(key_swap_figures, key_swap_findings, key_swap_effects)
    attrs = ATTRS
    documentation = DOCUMENTATION
    ranked_by = STAGE

    def check(self, spec: KeySwapSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, or image tokens without places."""
        check_intervention(spec)
        check_sizes((size_of(spec, heads_of(reader)),), reader, "k")
        asked = questions(spec)
        check_disjoint([each.scene for each in estimation_questions(spec)], [each.scene for each in asked])
        asked[0].encoded(reader).tokens.object_patches(0)

    def trials(self, spec: KeySwapSpec) -> int:
        """The number of questions."""
        return spec.trials

    def estimate(self, vlm: VLM, spec: KeySwapSpec) -> MeanKeys:
        """Mean keys of objects on either side, from pictures that no question is about."""
        return mean_keys(vlm, estimation_questions(spec))

    def measure(self, vlm: VLM, spec: KeySwapSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, edit, dose: whose colour is named with every edit, and without any."""
        every = questions(spec)
        trials = [every[index] for index in unit.trials]
        swaps, k = key_edits(prepared.maps, spec, prepared.estimates), size_of(spec, prepared.maps.heads)
        contexts = [question.encoded(vlm.reader) for question in trials]
        rows = [edit_rows(swaps, spec.doses, *pair) for pair in zip(trials, contexts, strict=True)]
        named = role_indices(decode_with_edits(vlm, contexts, rows, batch=spec.batch), trials, ROLES)
        edits = {"edit": [swap.name for swap in swaps], "dose": spec.doses}
        return self.dataset(
            unit,
            edits,
            {
                **edited_rows("said", named, edits),
                "heads": ("edit", np.array([swap.text for swap in swaps])),
                "warning": ("k", np.array(warnings_of(prepared.maps, STAGE, (k,), spec.seed))),
            },
            {"side": ("trial", np.array([each.side for each in trials])), "k": [k], "role": [*ROLES]},
        )

    def analyse(self, spec: KeySwapSpec, data: xr.Dataset) -> xr.Dataset:
        """Dims edit, dose, group: effects on the reporting half, and the dose that was chosen for the paper's edit.

        A hit names the other object's colour.
        """
        hits, before = (data[name] == ROLES.index("other") for name in ("said", "said_before"))
        sides = data["side"].values.tolist()
        choosing = selection_split(sides, spec.seed)
        right = (data["said_before"] == ROLES.index("queried")).isel(trial=~choosing)
        return selected_effects(
            before, hits, choosing, sides, spec.alpha, settings=["dose"], sets="edit", main=PAPER
        ).assign(right_before=right.mean().assign_attrs(units="1", long_name="share right without an edit"))

    def example(self, spec: KeySwapSpec, reader: Reader) -> TrialExample:
        """The first question."""
        question = questions(spec)[0]
        context = question.encoded(reader)
        where = [pos for index in range(2) for pos in context.tokens.object_patches(index)]
        answer = question.prompt.answer
        return trial_example(reader, draw(question.scene), context, answer, where, targets=[question.queried])
