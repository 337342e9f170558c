"""Experiments from Python: ``run`` one by name or class, ``load`` what a run left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from rich.console import Console

from finst.errors import FinstError, choice
from finst.experiments.registry import experiment_of
from finst.report.figures import NamedFigure
from finst.report.findings import Findings
from finst.runs import executor
from finst.runs.backends.backend import Backend
from finst.runs.experiment import Experiment
from finst.runs.finished import FinishedRun, finished_run
from finst.runs.manifest import Manifest
from finst.runs.spec import from_json, plain
from finst.vlm.open import VLM, model_spec


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: what was asked, what was measured, and how it is shown."""

    experiment: Experiment[Any]
    finished: FinishedRun

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return self.finished.folder

    @property
    def manifest(self) -> Manifest:
        """What ran, on what, with which versions, and how long it took."""
        return self.finished.manifest

    @cached_property
    def spec(self) -> Any:
        """The settings, as the experiment's own dataclass."""
        return from_json(self.experiment.spec, self.manifest.spec)

    @property
    def summary(self) -> xr.Dataset:
        """The data of all units with their statistics; every variable names its units."""
        return self.finished.summary

    def units(self) -> Iterator[xr.Dataset]:
        """The data of every unit as it was measured, in order. Raises FinstError when a file is missing or damaged."""
        return self.finished.units()

    def frame(self, *variables: str) -> pd.DataFrame:
        """A tidy table: a row for each entry of the first variable, with its coordinates as columns.

        Without ``variables`` the first is the experiment's main statistic, and all others follow that vary along its
        dims and no others. Raises FinstError for a variable that the summary does not have.
        """
        unknown = [name for name in variables if name not in self.summary]
        if unknown:
            raise choice("variable", unknown[0], map(str, self.summary.data_vars))
        main = self.summary[variables[0] if variables else self.experiment.statistic]
        others = variables[1:] or [
            str(name)
            for name, values in self.summary.data_vars.items()
            if not variables and values.dims and name != main.name and set(values.dims) <= set(main.dims)
        ]
        table = self.summary[[str(main.name), *others]].reset_coords(drop=True)
        return xr.broadcast(table)[0].to_dataframe(dim_order=list(main.dims)).reset_index()

    @cached_property
    def figures(self) -> Mapping[str, NamedFigure]:
        """The report's figures by name, each with its data (``csv``), ``png``, ``pdf`` and ``svg``."""
        return {figure.name: figure for figure in self.experiment.report.figures(self.summary)}

    @cached_property
    def findings(self) -> Findings:
        """The results in words and in a table; ``print(run.findings.text)``."""
        return self.experiment.report.findings(self.summary)

    @property
    def report(self) -> Path:
        """The page, one HTML file."""
        return self.finished.report

    def __repr__(self) -> str:
        return f"<{self.experiment.name} of {self.manifest.model.id} in {self.folder}: {self.findings.headline}>"


def run(
    experiment: str | Experiment[Any] | type[Experiment[Any]],
    *,
    out: str | Path | None = None,
    vlm: VLM | None = None,
    console: Console | None = None,
    backend: Backend | None = None,
    **settings: Any,
) -> Run:
    """Runs an experiment into the folder ``out`` (``runs/NAME`` if None), or resumes it there, and loads the result.

    ``experiment`` is a name of the registry or a class of one's own. ``settings`` are fields of its spec by name, such
    as ``model="organism", pairs=50``. An open ``vlm`` is used as it is, in place of the settings that say which model.
    ``backend`` measures the units, by default in this process (see ``finst.backend``); no result depends on it.

    Raises FinstError, before any weight loads where that can be known, for an unknown experiment, an unknown setting or
    one of the wrong type, a ``vlm`` beside other settings of the model, and whatever the experiment refuses.
    """
    chosen = experiment_of(experiment) if isinstance(experiment, str) else _instance(experiment)
    given = {name: _setting(name, value) for name, value in settings.items()}
    spec = from_json(chosen.spec, {**_model_of(vlm, settings), **given})
    folder = Path(out) if out is not None else Path("runs") / chosen.name
    return Run(chosen, executor.run(chosen, spec, folder, console=console, vlm=vlm, backend=backend))


def _instance(experiment: Experiment[Any] | type[Experiment[Any]]) -> Experiment[Any]:
    return experiment() if isinstance(experiment, type) else experiment


def _setting(name: str, value: object) -> Any:
    """A setting as a plain value. Raises FinstError for a kind of value that no setting has."""
    try:
        return plain(value)
    except TypeError as cause:
        raise FinstError(f"{name}: {cause}") from cause


def _model_of(vlm: VLM | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that an open model stands for."""
    if vlm is None:
        return {}
    model = model_spec(vlm)
    named = [field.name for field in fields(model) if field.name in settings]
    if named:
        raise FinstError(f"both vlm and {named[0]} were given: expected an open model or the settings that name one")
    return {field.name: getattr(model, field.name) for field in fields(model)}


def load(folder: str | Path, experiment: Experiment[Any] | type[Experiment[Any]] | None = None) -> Run:
    """The finished run in ``folder``; ``experiment`` is needed for one that is not registered.

    Raises FinstError when there is no finished run, or one of an unknown experiment.
    """
    finished = finished_run(Path(folder))
    return Run(experiment_of(finished.manifest.experiment) if experiment is None else _instance(experiment), finished)
