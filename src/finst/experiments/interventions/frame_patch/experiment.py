"""Is a position ID relative to the other objects or absolute? Head outputs between arrangements (Figs 13, 29)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from finst.engine.activations import sampled
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits
from finst.experiments.interventions.effects import effects, selected_effects, selection_split
from finst.experiments.interventions.frame_patch.design import PAIRS, ROLES, arrangements_of, overlap_of, pairs_of
from finst.experiments.interventions.frame_patch.report import (
    RIVALS,
    frame_patch_effects,
    frame_patch_figures,
    frame_patch_findings,
)
from finst.experiments.interventions.frame_patch.spec import FramePatchSpec
from finst.experiments.interventions.heads import (
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
from finst.experiments.interventions.unit_data import COLOUR_ANSWERS, TIES, edited_rows, head_variables, role_indices
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.scenes.draw import draw
from finst.vlm.open import VLM, Reader

STAGE = "id_selection"

ATTRS = {"title": "Indexes of one arrangement in another", "paper": "arXiv 2506.15871, Figs 13 and 29"}

DOCUMENTATION = {
    **COLOUR_ANSWERS,
    "source_right": ("1", "the source's most probable answer is exactly the object at the centre"),
    "heads": ("1", "the heads that are patched"),
    **TIES,
}


class FramePatch(Intervention[FramePatchSpec]):
    """Outputs of selection heads, patched from one 2x2 arrangement into another that shares the centre cell."""

    name = "frame-patch"
    spec = FramePatchSpec
    report = InterventionReport(frame_patch_figures, frame_patch_findings, frame_patch_effects)
    attrs = ATTRS
    documentation = DOCUMENTATION
    ranked_by = STAGE

    def check(self, spec: FramePatchSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, or unsuitable pictures."""
        check_intervention(spec)
        check_sizes(sizes_of(spec, heads_of(reader)), reader)
        pairs_of(spec)[0].encoded(reader)

    def trials(self, spec: FramePatchSpec) -> int:
        """The number of pairs of pictures; arrangements take turns."""
        return len(PAIRS) * spec.trials

    def measure(self, vlm: VLM, spec: FramePatchSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, set, k: whose colour is named with every edit, and without any."""
        every = pairs_of(spec)
        trials = [every[index] for index in unit.trials]
        maps, ks = prepared.maps, sizes_of(spec, prepared.maps.heads)
        sets = head_sets_of(maps, STAGE, ks, spec.draws, spec.seed)
        sources, contexts = zip(*(pair.encoded(vlm.reader) for pair in trials), strict=True)
        last = np.array([[context.tokens.last] for context in sources])
        passes = sampled(vlm, sources, ("z",), last, batch=spec.batch)
        rows = [
            with_unedited(rows for each in sets for rows in rows_by_size(z, (context.tokens.last,), each))
            for z, context in zip(passes.values["z"], contexts, strict=True)
        ]
        named = role_indices(decode_with_edits(vlm, contexts, rows, batch=spec.batch), trials, ROLES)
        edits = {"set": names_of(sets), "k": ks}
        return self.dataset(
            unit,
            edits,
            {
                **edited_rows("said", named, edits),
                "source_right": ("trial", passes.exact.numpy()),
                **head_variables(sets, warnings_of(maps, STAGE, ks, spec.seed)),
            },
            {"arrangements": ("trial", np.array([arrangements_of(trial) for trial in unit.trials])), "role": [*ROLES]},
        )

    def analyse(self, spec: FramePatchSpec, data: xr.Dataset) -> xr.Dataset:
        """Dims named, set, k, group: how often either rival is named, before and after, on the reporting half.

        ``rival`` is the exact paired p of relative against absolute after the edit. K is selected by how many answers
        of the other half move from one rival to the other.
        """
        named = xr.DataArray([ROLES.index(rival) for rival in RIVALS], dims="named", coords={"named": [*RIVALS]})
        hits, before = data["said"] == named, data["said_before"] == named
        arrangements = data["arrangements"].values.tolist()
        choosing = selection_split(arrangements, spec.seed)
        moves = (hits & ~before).any("named")
        moved = moves.isel(trial=~choosing).mean("trial")
        kinds = [overlap_of(name) for name in arrangements]
        relative, absolute = (hits.isel(trial=~choosing).sel(named=rival, drop=True) for rival in RIVALS)
        reported_kinds = np.array(kinds)[~choosing].tolist()
        rival = effects(absolute, relative, reported_kinds, 1 - spec.alpha)["p"]
        rival.attrs = {"units": "1", "long_name": "two-sided exact p of relative against absolute after the edit"}
        moved.attrs = {"units": "1", "long_name": "share of answers that move to the other undescribed object"}
        return selected_effects(before, hits, choosing, kinds, spec.alpha, criterion=moves, settings=["k"]).assign(
            rival=rival, moved=moved
        )

    def example(self, spec: FramePatchSpec, reader: Reader) -> TrialExample:
        """The first pair's edited picture."""
        pair = pairs_of(spec)[0]
        _, context = pair.encoded(reader)
        rivals = (pair.relative, pair.absolute)
        answer = " or ".join(pair.scene.objects[index].name for index in rivals)
        return trial_example(reader, draw(pair.scene), context, answer, (context.tokens.last,), targets=rivals)
