"""Finished runs of one experiment, read back to be compared, and what differs between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from finst.errors import FinstError
from finst.report.comparison import Difference
from finst.runs.archive import unpack
from finst.runs.manifest import Manifest
from finst.runs.spec import to_json
from finst.runs.store import RunFolder

COMPARED = ("model", "revision")
"""Fields of a spec that say what is compared."""

PRACTICAL = ("device", "batch", "pairs_per_unit", "trials_per_unit")
"""Fields of a spec that say how the work was done; numbers may round differently, and no more."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run that came to its end, and what its folder holds."""

    folder: Path
    manifest: Manifest
    summary: xr.Dataset

    @property
    def report(self) -> Path:
        """The page."""
        return self._store.report_path

    @property
    def record(self) -> dict[str, Any]:
        """The manifest as plain values, with the folder."""
        return {"folder": str(self.folder), **to_json(self.manifest)}

    def unit(self, index: int) -> xr.Dataset:
        """The data of one unit as it was measured. Raises FinstError when its file is missing or damaged."""
        if not self._store.has_unit(index):
            raise FinstError(f"{self.folder} has no unit {index}: expected 0 to {self.manifest.units - 1}")
        return self._store.read_unit(index)

    def units(self) -> Iterator[xr.Dataset]:
        """The data of all units, in order. Raises FinstError when a file is missing or damaged."""
        return map(self.unit, range(self.manifest.units))

    @property
    def _store(self) -> RunFolder:
        return RunFolder(self.folder, self.manifest.experiment, self.manifest.spec)


def finished_run(path: Path) -> FinishedRun:
    """The run in the folder ``path``. Raises FinstError when there is none, or none that has come to its end."""
    if not (path / "manifest.json").is_file():
        raise FinstError(f"{path} holds no run: expected a folder with manifest.json, such as finst run cma writes")
    manifest = Manifest.read(path / "manifest.json")
    folder = RunFolder(path, manifest.experiment, manifest.spec)
    if manifest.status != "finished" or not folder.summary_path.is_file():
        done = sum(folder.has_unit(index) for index in range(manifest.units))
        raise FinstError(
            f"{path} holds a run that is not finished ({done} of {manifest.units} units): expected finished ones; the "
            "command that began it resumes it"
        )
    return FinishedRun(path, manifest, unpack(folder.summary_path))


def comparable_runs(paths: Sequence[Path]) -> tuple[FinishedRun, ...]:
    """Two runs or more of one experiment. Raises FinstError for anything else."""
    if len(paths) < 2:
        raise FinstError(f"{len(paths)} run{'' if len(paths) == 1 else 's'} given: a comparison needs two or more")
    runs = distinct_runs(paths)
    experiments = [run.manifest.experiment for run in runs]
    if len(set(experiments)) > 1:
        listed = ", ".join(f"{name!r} in {path}" for name, path in zip(experiments, paths, strict=True))
        raise FinstError(f"runs of different experiments cannot be compared ({listed}): expected one experiment")
    return runs


def distinct_runs(paths: Sequence[Path]) -> tuple[FinishedRun, ...]:
    """Runs of any experiments. Raises FinstError for one that is given twice, is not there, or is not finished."""
    twice = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if twice:
        raise FinstError(f"{twice[0]} is given twice: expected different runs")
    return tuple(finished_run(path) for path in paths)


def labels_of(runs: Sequence[FinishedRun]) -> tuple[str, ...]:
    """A short name for each: its model without the folders before it, with the run's folder where models are alike."""
    models = [Path(str(run.manifest.spec["model"])).name for run in runs]
    named = [
        f"{model} ({run.folder.resolve().name})" if models.count(model) > 1 else model
        for model, run in zip(models, runs, strict=True)
    ]
    return tuple(f"{name}, {place}" if named.count(name) > 1 else name for place, name in enumerate(named, 1))


def differences_between(runs: Sequence[FinishedRun]) -> tuple[Difference, ...]:
    """In how the runs were asked for, in weights that are the same, and in the versions that measured them."""
    specs = [run.manifest.spec for run in runs]
    versions = [{"finst": run.manifest.sessions[-1].finst, **run.manifest.sessions[-1].versions} for run in runs]
    asked = [
        Difference(name, values, misleads=name not in PRACTICAL)
        for name, values in _unequal(specs)
        if name not in COMPARED
    ]
    hashes = [run.manifest.model.hash for run in runs]
    same = len(set(hashes)) < len(hashes)
    weights = (
        [Difference("weights, some the same", tuple(value[:12] for value in hashes), misleads=True)] if same else []
    )
    return (*asked, *weights, *(Difference(name, values, misleads=False) for name, values in _unequal(versions)))


def _unequal(records: Sequence[dict[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    """The entries in which records are not all equal, as texts."""
    names = dict.fromkeys(name for record in records for name in record)
    values = {name: [record.get(name, "absent") for record in records] for name in names}
    return [
        (name, tuple("–" if value is None else str(value) for value in found))  # noqa: RUF001
        for name, found in values.items()
        if any(value != found[0] for value in found)
    ]
