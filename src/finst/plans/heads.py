"""The page of all heads in the folder of a reproduction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from finst.experiments.api import Run
from finst.experiments.cma.explorer.page import Edited
from finst.experiments.cma.explorer.run import heads_page_of
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.protocol import Intervention
from finst.experiments.interventions.top_sets import top_sets
from finst.plans.page import finished_runs, first_run
from finst.plans.record import Reproduction, key_of

REPORT = "report.html"
"""Name of a run's own report in its folder."""


def reproduction_heads(folder: Path, record: Reproduction) -> str:
    """The page of all heads of the reproduction in ``folder``, with the interventions that edit each.

    The heads are those of the first finished step of causal mediation, as in the claims; empty where there is none.
    Interventions that edit the heads of another step are left out. Raises FinstError for a damaged run.
    """
    runs = finished_runs(folder, record)
    mediation = first_run("cma", record, runs)
    if mediation is None:
        return ""
    return heads_page_of(runs[mediation].finished, f"{mediation}/{REPORT}", _interventions(record, runs, mediation))


def _interventions(record: Reproduction, runs: Mapping[str, Run], mediation: str) -> tuple[Edited, ...]:
    """What each finished intervention edits that takes its heads from the step ``mediation``."""
    maps = HeadMaps.of(runs[mediation].summary, runs[mediation].manifest.model.hash)
    heads = record.step(mediation).key
    return tuple(
        Edited(name, f"{name}/{REPORT}", top_sets(run.experiment, run.summary, maps))
        for name, run in runs.items()
        if isinstance(run.experiment, Intervention)
        and record.step(name).key == key_of(run.experiment.name, run.manifest.spec, record.weights, heads)
    )
