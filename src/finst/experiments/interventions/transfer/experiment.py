"""Position IDs of any task in any other, by stage: a matrix of source and target (the general form of Fig 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from operator import add

import numpy as np
import xarray as xr

from finst.engine.edits import Rows, unedited
from finst.engine.head_sets import head_sets
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.example import shown
from finst.experiments.interventions.decoding import role_of, said
from finst.experiments.interventions.effect_table import EffectRow
from finst.experiments.interventions.heads import HeadSets, check_maps, check_sizes, head_sets_of, warnings_of
from finst.experiments.interventions.spec import InterventionSpec, agreed, check_intervention
from finst.experiments.interventions.transfer.position_ids import SITES, IDs, context_of, ids_of, slots_of, stages_of
from finst.experiments.interventions.transfer.report import transfer_account, transfer_effects, transfer_figures
from finst.experiments.interventions.transfer.summary import summary_of
from finst.experiments.interventions.transfer.tasks import NAMES, TASKS, Asked, Pictures, opposite, pictures_of, task_of
from finst.experiments.units import check_numbers, joined, units_of
from finst.report.example import Shown
from finst.report.figures import NamedFigure
from finst.report.findings import Account
from finst.runs.experiment import Unit, documented
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


@dataclass(frozen=True)
class TransferSpec(InterventionSpec):
    """IDs estimated in one task and written in another, for all pairs of tasks, by stage.

    o += dose x (d_elsewhere - d_answer) in the K strongest heads of a stage, d the mean over other pictures of the
    source task, by the place of the object that is to be named (ID selection: outputs at the last token; feature
    retrieval: queries there) or of a described one (ID retrieval: outputs at its words). Places are the ends of the
    first and of the last row, which all grids have; where source or target has one row, left and right alone. A hit
    names the object at the other end of the answer's row. K and dose are chosen for each pair on half of the trials, as
    IDs of one task may be larger than another's, and reported on the other half. The default takes under four minutes
    on two cores with the built-in model, and only strong effects survive the correction over all pairs; of a size for a
    paper are --trials 200 --estimation 160 --draws 5 --ks 1 5 20 50 100 --doses 0.5 1 2 4 8.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    """Which tasks, each of them source and target."""
    trials: int = 40
    """Pictures of each task that are edited."""
    estimation: int = 48
    """Other pictures of each task, behind its IDs."""
    ks: tuple[int, ...] = (1, 5, 20)
    """Heads that are edited: the K strongest of the stage."""
    doses: tuple[float, ...] = (1.0, 4.0)
    """By what the written difference is multiplied."""
    draws: int = 1
    """Of each control: random heads of the whole model, of the same layers, and the strongest heads with IDs of
    shuffled places."""


def pictures(spec: TransferSpec) -> dict[str, Pictures]:
    """Of every task of the spec."""
    return pictures_of(spec.tasks, spec.trials, spec.estimation, spec.seed, spec.placement)


def estimated(vlm: VLM, spec: TransferSpec) -> EVERY:
    """IDs of every task, from pictures that are not edited."""
    return {
        name: ids_of(vlm, task_of(name), of.estimation, spec.draws, batch=spec.batch, seed=spec.seed)
        for name, of in pictures(spec).items()
    }


@dataclass(frozen=True)
class Transfer:
    """The experiment, with the heads that causal mediation found."""

    maps: HeadMaps | None = None
    estimated: Callable[[VLM, TransferSpec], EVERY] = field(
        default_factory=lambda: lru_cache(maxsize=1)(estimated), repr=False, compare=False
    )
    """IDs are the same for all units, so they are estimated once a process."""

    @property
    def name(self) -> str:
        """As on the command line and in the run's record."""
        return "transfer"

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

    def plan(self, spec: TransferSpec) -> tuple[Unit, ...]:
        """Consecutive trials, task by task."""
        return units_of(len(spec.tasks) * spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: TransferSpec, unit: Unit) -> xr.Dataset:
        """Dims trial, stage, source, set, k, dose: whose colour is named with every edit, and without any."""
        maps, ids = check_maps(self.maps, vlm), self.estimated(vlm, spec)
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
            texts = said(vlm, [contexts[place] for place in places], rows, batch=spec.batch)
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
        data = joined(agreed(parts, ("heads", "warning")))
        found = summary_of(spec, data)
        return found.assign({name: data[name] for name in DOCUMENTATION if name != "said"})

    def draw(self, summary: xr.Dataset) -> tuple[NamedFigure, ...]:
        """The matrix of every stage."""
        return transfer_figures(summary)

    def account(self, summary: xr.Dataset) -> Account:
        """What was found, in words."""
        return transfer_account(summary)

    def effects(self, summary: xr.Dataset) -> tuple[EffectRow, ...]:
        """For the table of all interventions."""
        return transfer_effects(summary)

    def example(self, spec: TransferSpec, reader: Reader) -> Shown:
        """The first trial of the first task."""
        asked = pictures(spec)[spec.tasks[0]].tests[0]
        context = context_of(reader, asked)
        places = [pos for stage in stages_of(task_of(spec.tasks[0])) for pos in slots_of(stage, asked, context)]
        return shown(reader, draw(asked.scene), context, asked.prompt.answer, places)


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
