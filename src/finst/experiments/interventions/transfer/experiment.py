"""Position IDs of any task in any other, by stage: a matrix of source and target (the general form of Fig 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add

import numpy as np
import xarray as xr

from finst.engine.edits import Rows, unedited
from finst.engine.head_sets import head_sets
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits, role_of
from finst.experiments.interventions.heads import HeadSets, check_sizes, head_sets_of, warnings_of
from finst.experiments.interventions.protocol import (
    Intervention,
    InterventionReport,
    Prepared,
    check_intervention,
    require_identical,
)
from finst.experiments.interventions.transfer.position_ids import SITES, IDs, context_of, ids_of, slots_of, stages_of
from finst.experiments.interventions.transfer.report import transfer_effects, transfer_figures, transfer_findings
from finst.experiments.interventions.transfer.spec import TransferSpec
from finst.experiments.interventions.transfer.summary import summary_of
from finst.experiments.interventions.transfer.tasks import NAMES, TASKS, Asked, Pictures, opposite, pictures_of, task_of
from finst.experiments.units import check_numbers, documented, joined, units_of
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
    "heads": ("1", "the heads that are edited"),
    "warning": ("1", "what is arbitrary about the K strongest heads; empty if nothing"),
}

EVERY = Mapping[str, Mapping[str, IDs]]
"""IDs by task and stage."""


def pictures(spec: TransferSpec) -> dict[str, Pictures]:
    """Of every task of the spec."""
    return pictures_of(spec.tasks, spec.trials, spec.estimation, spec.seed, spec.placement)


def estimated(vlm: VLM, spec: TransferSpec) -> EVERY:
    """IDs of every task, from pictures that are not edited."""
    return {
        name: ids_of(vlm, task_of(name), of.estimation, spec.draws, batch=spec.batch, seed=spec.seed)
        for name, of in pictures(spec).items()
    }


class Transfer(Intervention[TransferSpec]):
    """The experiment."""

    name = "transfer"
    spec = TransferSpec
    report = InterventionReport(transfer_figures, transfer_findings, transfer_effects)

    def check(self, spec: TransferSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, unknown tasks, unsuitable pictures."""
        check_numbers(spec, {"trials": 8, "estimation": 16})
        check_intervention(spec, spec.doses)
        check_sizes(spec.ks, reader)
        if len(set(spec.tasks)) < max(2, len(spec.tasks)):
            raise FinstError(f"tasks is {', '.join(spec.tasks)}: expected two or more different ones of {list(TASKS)}")
        for name in spec.tasks:
            (asked,) = pictures_of([name], 1, 0, spec.seed, spec.placement)[name].tests
            context = context_of(reader, asked)
            for stage in stages_of(task_of(name)):
                slots_of(stage, asked, context)

    def estimate(self, vlm: VLM, spec: TransferSpec) -> EVERY:
        """Raises FinstError as ``estimated``."""
        return estimated(vlm, spec)

    def plan(self, spec: TransferSpec) -> tuple[Unit, ...]:
        """Consecutive trials, task by task."""
        return units_of(len(spec.tasks) * spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: TransferSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, stage, source, set, k, dose: whose colour is named with every edit, and without any."""
        maps, ids = prepared.maps, prepared.estimates
        sets = {stage: _sets(spec, maps, stage) for stage in SITES}
        names = [one.name for one in sets["id_selection"]]
        every = pictures(spec)
        targets = [spec.tasks[index // spec.trials] for index in unit.trials]
        trials = [every[name].tests[index % spec.trials] for name, index in zip(targets, unit.trials, strict=True)]
        contexts = [context_of(vlm.reader, asked) for asked in trials]
        shape = (len(trials), len(SITES), len(spec.tasks), len(names), len(spec.ks), len(spec.doses))
        roles, before = np.full(shape, -1, np.int8), np.empty(len(trials), np.int8)
        # Edits of words begin before the last token: in rows of their own, as those of one call begin together.
        for stages in (("id_selection", "feature_retrieval"), ("id_retrieval",)):
            places = [place for place, name in enumerate(targets) if stages[0] in stages_of(task_of(name))]
            rows = [_rows(spec, stages, sets, ids, targets[p], trials[p], contexts[p]) for p in places]
            texts = decode_with_edits(vlm, [contexts[place] for place in places], rows, batch=spec.batch)
            for place, row in zip(places, texts, strict=True):
                named = [ROLES.index(role_of(text, trials[place].roles)) for text in row]
                before[place] = named[0]
                for stage, found in zip(stages, np.split(np.array(named[1:]), len(stages)), strict=True):
                    sources = [stage in ids[name] for name in spec.tasks]
                    roles[place, list(SITES).index(stage), sources] = found.reshape(-1, *shape[3:])
        data = xr.Dataset(
            {
                "said": (("trial", "stage", "source", "set", "k", "dose"), roles),
                "said_before": ("trial", before),
                "heads": (("stage", "set", "k"), np.array([[one.texts for one in of] for of in sets.values()])),
                "warning": (
                    ("stage", "k"),
                    np.array([warnings_of(maps, stage, spec.ks, spec.seed) for stage in SITES]),
                ),
            },
            coords={
                "trial": list(unit.trials),
                "target_task": ("trial", np.array(targets)),
                "place": ("trial", np.array([NAMES[asked.place] for asked in trials])),
                "stage": list(SITES),
                "source": list(spec.tasks),
                "set": names,
                "k": list(spec.ks),
                "dose": list(spec.doses),
                "role": list(ROLES),
            },
            attrs=ATTRS,
        )
        return documented(data, DOCUMENTATION)

    def summarise(self, spec: TransferSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims stage, source, target, set, group: effects on the reporting half, at settings of the choosing half.

        Raises FinstError when parts were measured with other heads.
        """
        data = joined(require_identical(parts, ("heads", "warning")))
        found = summary_of(spec, data)
        return found.assign({name: data[name] for name in DOCUMENTATION if name != "said"})

    def example(self, spec: TransferSpec, reader: Reader) -> TrialExample:
        """The first trial of the first task."""
        asked = pictures(spec)[spec.tasks[0]].tests[0]
        context = context_of(reader, asked)
        places = [pos for stage in stages_of(task_of(spec.tasks[0])) for pos in slots_of(stage, asked, context)]
        return trial_example(reader, draw(asked.scene), context, asked.prompt.answer, places)


def _sets(spec: TransferSpec, maps: HeadMaps, stage: str) -> tuple[HeadSets, ...]:
    """The strongest heads, them once more for every shuffle of places, and the other controls."""
    top, *others = head_sets_of(maps, stage, spec.ks, spec.draws, spec.seed)
    return (top, *(HeadSets(f"shuffled {draw_}", top.sets) for draw_ in range(spec.draws)), *others)


def _rows(
    spec: TransferSpec,
    stages: Sequence[str],
    sets: Mapping[str, Sequence[HeadSets]],
    ids: EVERY,
    target: str,
    asked: Asked,
    context: Encoded,
) -> Rows:
    """An unedited row, then one for every stage, source that has it, set, K and dose, in this order."""
    rows = []
    for stage in stages:
        positions = slots_of(stage, asked, context)
        start, stop = (asked.place, opposite(asked.place))
        if stage == "id_retrieval" and asked.move is not None:
            start, stop = asked.move.start, asked.move.stop
        for source in spec.tasks:
            if stage not in ids[source]:
                continue
            of_rows = task_of(source).rows and task_of(target).rows
            for one in sets[stage]:
                shuffle = int(one.name.split()[1]) if one.name.startswith("shuffled") else None
                step = ids[source][stage].step(start, stop, rows=of_rows, shuffle=shuffle)[:, -len(positions) :]
                rows += [
                    head_sets(step, positions, np.array(heads), (len(heads),), spec.doses, SITES[stage])
                    for heads in one.sets
                ]
    return reduce(add, rows, unedited())
