"""Can low entropy be rescued? Selection heads' outputs from high-entropy pictures in low-entropy ones (Table 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import xarray as xr

from finst.engine.edits import Rows, unedited
from finst.errors import FinstError
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits
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
from finst.experiments.interventions.rescue.design import EntropyTrial, estimation_of, trials_of
from finst.experiments.interventions.rescue.report import (
    PARTS,
    SCORES,
    WRONG,
    rescue_effects,
    rescue_figures,
    rescue_findings,
)
from finst.experiments.interventions.rescue.spec import RescueSpec
from finst.experiments.interventions.rescue.summary import summary_of
from finst.experiments.interventions.unit_data import TIES, edited_rows, head_variables
from finst.experiments.units import MAX_NEW_TOKENS, square
from finst.prompts import correct
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.scenes.draw import draw
from finst.scenes.object import Obj
from finst.scenes.sets import absolute
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM, Reader

STAGE = "id_selection"

ATTRS = {
    "title": "Selection heads' outputs of high entropy in pictures of low entropy",
    "paper": "arXiv 2506.15871, Table 1",
}

DOCUMENTATION = {
    "hit": ("1", "whether the text begins with what score names"),
    "hit_before": ("1", "the same without an edit"),
    "hit_high": ("1", "the same of a picture of high entropy, whose own missing object is to be named"),
    "heads": ("1", "the heads whose outputs are replaced"),
    **TIES,
    "estimated_from": ("trials", "right descriptions behind each prototype, at least"),
    "estimated_right": ("1", "share of those descriptions that the model got exactly right"),
}


class Rescue(Intervention[RescueSpec]):
    """Prototypes from correctly described high-entropy pictures, written in low-entropy ones."""

    name = "rescue"
    spec = RescueSpec
    report = InterventionReport(rescue_figures, rescue_findings, rescue_effects)
    attrs = ATTRS
    documentation = DOCUMENTATION
    ranked_by = STAGE
    shared = kept = ("heads", "warning", "estimated_from", "estimated_right")
    right_only: ClassVar[bool] = True
    """Whether prototypes come from descriptions that the model gets exactly right alone."""

    def check(self, spec: RescueSpec, reader: Reader) -> None:
        """Raises FinstError for unknown grids, numbers out of range, more heads than there are, unsuitable pictures."""
        check_intervention(spec)
        check_sizes(sizes_of(spec, heads_of(reader)), reader)
        if not spec.grids or len(set(spec.grids)) < len(spec.grids):
            raise FinstError(f"grids is {spec.grids}: expected one or more different grids, of 2x2 and 3x3")
        for name in ("trials", "estimation"):
            values = getattr(spec, name)
            if len(values) != len(spec.grids) or min(values) < 1:
                raise FinstError(
                    f"{name} is {values}: expected a number of at least 1 for each grid ({', '.join(spec.grids)})"
                )
        trials = trials_of(spec)
        tested = [scene for trial in trials for scene in (trial.low.scene, trial.high.scene)]
        check_disjoint([each.scene for staged in estimation_of(spec).values() for each in staged], tested)
        for trial in {trial.grid: trial for trial in trials}.values():
            trial.encoded(reader, spec.placement)

    def trials(self, spec: RescueSpec) -> int:
        """The number of trials, grid by grid."""
        by_grid = zip(spec.grids, spec.trials, strict=False)
        return sum(len(square(grid).cells) ** 2 * per_pair for grid, per_pair in by_grid)

    def estimate(self, vlm: VLM, spec: RescueSpec) -> Mapping[str, Prototypes]:
        """Prototypes by grid, from descriptions that the model gets exactly right (see ``right_only``)."""
        return {
            grid: by_cell(vlm, square(grid), staged, spec.placement, batch=spec.batch, exact=self.right_only)
            for grid, staged in estimation_of(spec).items()
        }

    def measure(self, vlm: VLM, spec: RescueSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, set, k, score: what texts begin with, with every edit and without any."""
        every, ids = trials_of(spec), prepared.estimates
        trials = [every[index] for index in unit.trials]
        maps, ks = prepared.maps, sizes_of(spec, prepared.maps.heads)
        sets = head_sets_of(maps, STAGE, ks, spec.draws, spec.seed)
        lows, highs = zip(*(trial.encoded(vlm.reader, spec.placement) for trial in trials), strict=True)
        rows = [edit_rows(sets, ids[trial.grid], trial, low) for trial, low in zip(trials, lows, strict=True)]
        budget = {"batch": spec.batch, "new_tokens": MAX_NEW_TOKENS}
        texts = decode_with_edits(vlm, lows, rows, **budget)
        high_texts = decode_with_edits(vlm, highs, [unedited()] * len(highs), **budget)
        hits = np.array([[_scores(text, trial) for text in row] for row, trial in zip(texts, trials, strict=True)])
        high = np.array([_begins(text, trial.high.target) for (text,), trial in zip(high_texts, trials, strict=True)])
        counts = [np.array(ids[grid].counts) for grid in spec.grids]
        drawn = [len(staged) for staged in estimation_of(spec).values()]
        edits = {"set": [*names_of(sets), WRONG], "k": ks}
        return self.dataset(
            unit,
            edits,
            {
                **edited_rows("hit", hits, edits, "score"),
                "hit_high": (("trial", "part"), high),
                **head_variables([*sets, sets[0]], warnings_of(maps, STAGE, ks, spec.seed)),
                "estimated_from": ("source", np.array([count.min() for count in counts])),
                "estimated_right": (
                    "source",
                    np.array([count.sum() / total for count, total in zip(counts, drawn, strict=True)]),
                ),
            },
            {
                "of_grid": ("trial", np.array([trial.grid for trial in trials])),
                "score": [*SCORES],
                "part": [*PARTS],
                "source": list(spec.grids),
            },
        )

    def analyse(self, spec: RescueSpec, data: xr.Dataset) -> xr.Dataset:
        """Dims grid, set, k, score: effects on the reporting half, with the K that was best on the other."""
        return summary_of(data, spec.grids, spec.seed, spec.alpha)

    def example(self, spec: RescueSpec, reader: Reader) -> TrialExample:
        """The first picture of low entropy."""
        trial = trials_of(spec)[0]
        context, _ = trial.encoded(reader, spec.placement)
        low, last = trial.low, (context.tokens.last,)
        return trial_example(reader, draw(low.scene), context, low.target.name, last, targets=low.order[-1:])


def edit_rows(sets: Sequence[HeadSets], ids: Prototypes, trial: EntropyTrial, context: Encoded) -> Rows:
    """An unedited row, then one for every set and K with the right cell's prototype, then one for every K in which the
    strongest heads put out the wrong cell's."""
    cells, last = square(trial.grid).cells, (context.tokens.last,)
    right, wrong = (ids.layers[cells.index(absolute(obj))] for obj in (trial.low.target, trial.wrong))
    written = [*((each, right) for each in sets), (sets[0], wrong)]
    return with_unedited(rows for each, values in written for rows in rows_by_size(values, last, each))


def _scores(text: str, trial: EntropyTrial) -> tuple[bool, ...]:
    """Whether a text about the low-entropy picture begins with each of ``SCORES``."""
    return (*_begins(text, trial.low.target), *_begins(text, trial.wrong))


def _begins(text: str, obj: Obj) -> tuple[bool, bool]:
    """Whether a text begins with an object's name, and whether with its colour."""
    return correct(text, obj.name), correct(text, obj.colour)
