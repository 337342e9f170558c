"""The page of all heads in the folder of a reproduction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finst.experiments.api import Run, load
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.cma.heads_page import Edited
from finst.experiments.cma.heads_run import heads_page_of
from finst.experiments.interventions.protocol import Intervention
from finst.experiments.interventions.top_sets import top_sets
from finst.plans.plan import Plan, Step
from finst.plans.record import Reproduction

REPORT = "report.html"
"""Name of a run's own report in its folder."""


def reproduction_heads(folder: Path, plan: Plan, record: Reproduction) -> str:
    """The page of all heads of the reproduction in ``folder``, with the interventions that edit each.

    The heads are those of the first finished step of causal mediation; empty where there is none. Interventions that
    edit the heads of another step are left out. Raises FinstError for a finished step whose run is damaged.
    """
    finished = [step for step in plan.steps if record.step(step.name).status == "finished"]
    mediation = next((step.name for step in finished if step.experiment == "cma"), None)
    if mediation is None:
        return ""
    run = load(folder / mediation)
    maps = HeadMaps.of(run.summary, run.manifest.model.hash)
    return heads_page_of(run.finished, f"{mediation}/{REPORT}", interventions_of(folder, finished, mediation, maps))


def interventions_of(folder: Path, steps: Sequence[Step], mediation: str, maps: HeadMaps) -> tuple[Edited, ...]:
    """What each of the finished ``steps`` edits that takes its heads from the step ``mediation``."""
    runs = {step.name: load(folder / step.name) for step in steps if step.heads == mediation}
    return tuple(_edited(name, run, maps) for name, run in runs.items())


def _edited(name: str, run: Run, maps: HeadMaps) -> Edited:
    assert isinstance(run.experiment, Intervention)
    return Edited(name, f"{name}/{REPORT}", top_sets(run.experiment, run.summary, maps))
