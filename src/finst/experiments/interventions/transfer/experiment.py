"""Position IDs of any task in any other, by stage: a matrix of source and target (the general form of Fig 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from finst.engine.edits import Rows
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits
from finst.experiments.interventions.heads import (
    SITES,
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
from finst.experiments.interventions.transfer.position_ids import PositionIDs, ids_of, slots_of, stages_of
from finst.experiments.interventions.transfer.report import transfer_effects, transfer_figures, transfer_findings
from finst.experiments.interventions.transfer.spec import TransferSpec
from finst.experiments.interventions.transfer.summary import summary_of
from finst.experiments.interventions.transfer.tasks import (
    NAMES,
    TASKS,
    TaskTrial,
    TaskTrials,
    opposite,
    task_of,
    trials_of,
)
from finst.experiments.interventions.unit_data import EDITED_HEADS, edited_rows, role_indices, staged_head_variables
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.scenes.draw import draw
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM, Reader

ATTRS = {"title": "Position IDs of each task in the others", "paper": "arXiv 2506.15871, the general form of Fig 5"}

ROLES = ("answer", "elsewhere", "other", "none")
"""Whose colour is named: the answer's, that of the object at the other end of its row, another one's, or none's."""

DOCUMENTATION = {
    "said": ("1", "whose colour is named, as an index of role; -1 where the source or the target has no such stage"),
    "said_before": ("1", "the same without an edit"),
    **EDITED_HEADS,
}

TaskIDs = Mapping[str, Mapping[str, PositionIDs]]
"""IDs by task and stage."""


def all_trials(spec: TransferSpec) -> dict[str, TaskTrials]:
    """The trials of every task of the spec."""
    return trials_of(spec.tasks, spec.trials, spec.estimation, spec.seed, spec.placement)


class Transfer(Intervention[TransferSpec]):
    """IDs estimated in each task, written in every task."""

    name = "transfer"
    spec = TransferSpec
    report = InterventionReport(transfer_figures, transfer_findings, transfer_effects)
    attrs = ATTRS
    documentation = DOCUMENTATION
    kept = ("said_before", "heads", "warning")

    def check(self, spec: TransferSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, unknown tasks, unsuitable pictures."""
        check_intervention(spec)
        check_sizes(sizes_of(spec, heads_of(reader)), reader)
        if len(set(spec.tasks)) < max(2, len(spec.tasks)):
            raise FinstError(f"tasks is {', '.join(spec.tasks)}: expected two or more different ones of {list(TASKS)}")
        for name in spec.tasks:
            (trial,) = trials_of([name], 1, 0, spec.seed, spec.placement)[name].tests
            context = trial.encoded(reader)
            for stage in stages_of(task_of(name)):
                slots_of(stage, trial, context)
        all_trials(spec)

    def trials(self, spec: TransferSpec) -> int:
        """The number of trials, task by task."""
        return len(spec.tasks) * spec.trials

    def estimate(self, vlm: VLM, spec: TransferSpec) -> TaskIDs:
        """IDs of every task, from pictures that are not edited."""
        return {
            name: ids_of(vlm, task_of(name), trials.estimation, spec.draws, batch=spec.batch, seed=spec.seed)
            for name, trials in all_trials(spec).items()
        }

    def measure(self, vlm: VLM, spec: TransferSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, stage, source, set, k, dose: whose colour is named with every edit, and without any."""
        maps, ids, every = prepared.maps, prepared.estimates, all_trials(spec)
        ks = sizes_of(spec, maps.heads)
        sets = {stage: transfer_sets(spec, maps, stage) for stage in SITES}
        targets = [spec.tasks[index // spec.trials] for index in unit.trials]
        trials = [every[name].tests[index % spec.trials] for name, index in zip(targets, unit.trials, strict=True)]
        contexts = [trial.encoded(vlm.reader) for trial in trials]
        names = names_of(sets["id_selection"])
        edits = {"stage": [*SITES], "source": spec.tasks, "set": names, "k": ks, "dose": spec.doses}
        roles = np.full((len(trials), *map(len, edits.values())), -1, np.int8)
        before = np.empty((len(trials), 1), np.int8)
        # Edits of words begin before the last token: in rows of their own, as those of one call begin together.
        for stages in (("id_selection", "feature_retrieval"), ("id_retrieval",)):
            places = [place for place, name in enumerate(targets) if stages[0] in stages_of(task_of(name))]
            rows = [edit_rows(spec, stages, sets, ids, targets[p], trials[p], contexts[p]) for p in places]
            texts = decode_with_edits(vlm, [contexts[place] for place in places], rows, batch=spec.batch)
            for place, row in zip(places, texts, strict=True):
                (named,) = role_indices([row], [trials[place]], ROLES)
                before[place] = named[0]
                for stage, edited in zip(stages, np.split(named[1:], len(stages)), strict=True):
                    sources = [stage in ids[name] for name in spec.tasks]
                    roles[place, [*SITES].index(stage), sources] = edited.reshape(-1, *roles.shape[3:])
        return self.dataset(
            unit,
            edits,
            {
                **edited_rows("said", np.concatenate([before, roles.reshape(len(trials), -1)], axis=1), edits),
                **staged_head_variables(sets, {stage: warnings_of(maps, stage, ks, spec.seed) for stage in SITES}),
            },
            {
                "target_task": ("trial", np.array(targets)),
                "place": ("trial", np.array([NAMES[trial.place] for trial in trials])),
                "role": [*ROLES],
            },
        )

    def analyse(self, spec: TransferSpec, data: xr.Dataset) -> xr.Dataset:
        """Dims stage, source, target, set, group: effects on the reporting half, at settings of the choosing half."""
        return summary_of(data, spec.seed, spec.alpha)

    def example(self, spec: TransferSpec, reader: Reader) -> TrialExample:
        """The first trial of the first task."""
        trial = all_trials(spec)[spec.tasks[0]].tests[0]
        context = trial.encoded(reader)
        places = [pos for stage in stages_of(task_of(spec.tasks[0])) for pos in slots_of(stage, trial, context)]
        return trial_example(reader, draw(trial.scene), context, trial.prompt.answer, places, targets=[trial.answer])


def transfer_sets(spec: TransferSpec, maps: HeadMaps, stage: str) -> tuple[HeadSets, ...]:
    """The strongest heads, the same again for every shuffle of places, and the other controls."""
    top, *others = head_sets_of(maps, stage, sizes_of(spec, maps.heads), spec.draws, spec.seed)
    return (top, *(HeadSets(f"shuffled {draw}", top.sets) for draw in range(spec.draws)), *others)


def edit_rows(
    spec: TransferSpec,
    stages: Sequence[str],
    sets: Mapping[str, Sequence[HeadSets]],
    ids: TaskIDs,
    target: str,
    trial: TaskTrial,
    context: Encoded,
) -> Rows:
    """An unedited row, then one for every stage, source that has it, set, K and dose, in this order."""
    blocks: list[Rows] = []
    for stage in stages:
        positions = slots_of(stage, trial, context)
        start, stop = trial.place, opposite(trial.place)
        if stage == "id_retrieval" and trial.move is not None:
            start, stop = trial.move.start, trial.move.stop
        for source in (name for name in spec.tasks if stage in ids[name]):
            rows = task_of(source).rows and task_of(target).rows
            for each in sets[stage]:
                shuffle = int(each.name.split()[1]) if each.name.startswith("shuffled") else None
                step = ids[source][stage].step(start, stop, rows=rows, shuffle=shuffle)[:, -len(positions) :]
                blocks += rows_by_size(step, positions, each, spec.doses, stage)
    return with_unedited(blocks)
