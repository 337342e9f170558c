"""Finished runs, read back from their folders, and the differences between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from finst.errors import FinstError, check_run
from finst.report.comparison import Difference
from finst.runs.archive import SUFFIX
from finst.runs.manifest import Manifest
from finst.runs.spec import to_json
from finst.runs.store import RunFolder

COMPARED = ("model", "revision")
"""Fields of a spec that name what is compared."""

PRACTICAL = ("device", "batch", "pairs_per_unit", "trials_per_unit")
"""Fields of a spec that change only how the work was done: numbers may round differently."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run, and what its folder holds."""

    folder: Path
    manifest: Manifest
    summary: xr.Dataset

    @property
    def report(self) -> Path:
        """Path of its report."""
        return self._store.report_path

    @property
    def record(self) -> dict[str, Any]:
        """The manifest as plain values, with the folder."""
        return {"folder": str(self.folder), **to_json(self.manifest)}

    def unit(self, index: int) -> xr.Dataset:
        """The measured data of one unit. Raises FinstError when its file is missing or damaged."""
        if not self._store.has_unit(index):
            raise FinstError(f"{self.folder} has no unit {index}: expected 0 to {self.manifest.units - 1}")
        return self._store.read_unit(index)

    def units(self) -> Iterator[xr.Dataset]:
        """The measured data of all units, in order. Raises FinstError when a file is missing or damaged."""
        return map(self.unit, range(self.manifest.units))

    @property
    def _store(self) -> RunFolder:
        return RunFolder(self.folder, self.manifest.experiment, self.manifest.spec)


def manifest_of(path: Path) -> Manifest:
    """The manifest of the run in the folder ``path``, finished or not. Raises FinstError when there is no run."""
    check_run(path)
    return Manifest.read(path / "manifest.json")


def stored_units(path: Path, manifest: Manifest) -> list[int]:
    """The numbers of the measured units.

    Raises FinstError when there are none, a finished run lacks one, or there are more than the manifest counts.
    """
    folder = RunFolder(path, manifest.experiment, manifest.spec)
    _refuse_uncounted(folder, manifest)
    stored = [index for index in range(manifest.units) if folder.has_unit(index)]
    if not stored or (manifest.status == "finished" and len(stored) < manifest.units):
        raise FinstError(f"{path} holds {len(stored)} of the {manifest.units} units that its manifest counts")
    return stored


def finished_run(path: Path) -> FinishedRun:
    """The run in the folder ``path``. Raises FinstError when there is none, or an unfinished one."""
    manifest = manifest_of(path)
    folder = RunFolder(path, manifest.experiment, manifest.spec)
    _refuse_uncounted(folder, manifest)
    if manifest.status != "finished" or not folder.summary_path.is_file():
        done = sum(folder.has_unit(index) for index in range(manifest.units))
        raise FinstError(
            f"{path} holds a run that is not finished ({done} of {manifest.units} units): expected a finished "
            "run; repeat the command that started it to resume it"
        )
    return FinishedRun(path, manifest, folder.read_summary())


def _refuse_uncounted(folder: RunFolder, manifest: Manifest) -> None:
    """A record of an older format has no checksum: more units than it counts show that it was changed."""
    stored = (file.name.removesuffix(SUFFIX) for file in folder.unit_path(0).parent.glob(f"*{SUFFIX}"))
    if any(name.isdecimal() and int(name) >= manifest.units for name in stored):
        raise FinstError(f"{folder.manifest_path} is damaged: there are more units than the {manifest.units} it counts")


def comparable_runs(paths: Sequence[Path]) -> tuple[FinishedRun, ...]:
    """Two or more runs of one experiment. Raises FinstError for anything else."""
    if len(paths) < 2:
        raise FinstError(f"{len(paths)} run{'' if len(paths) == 1 else 's'} given: a comparison needs two or more")
    runs = distinct_runs(paths)
    experiments = [run.manifest.experiment for run in runs]
    if len(set(experiments)) > 1:
        listed = ", ".join(f"{name!r} in {path}" for name, path in zip(experiments, paths, strict=True))
        raise FinstError(f"runs of different experiments cannot be compared ({listed}): expected one experiment")
    return runs


def distinct_runs(paths: Sequence[Path]) -> tuple[FinishedRun, ...]:
    """Runs of any experiments. Raises FinstError for a folder that is given twice or holds no finished run."""
    twice = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if twice:
        raise FinstError(f"{twice[0]} is given twice: expected different runs")
    return tuple(finished_run(path) for path in paths)


def labels_of(runs: Sequence[FinishedRun]) -> tuple[str, ...]:
    """A short name for each: its model without parent folders, with the run's folder where models are the same."""
    models = [Path(str(run.manifest.spec["model"])).name for run in runs]
    named = [
        f"{model} ({run.folder.resolve().name})" if models.count(model) > 1 else model
        for model, run in zip(models, runs, strict=True)
    ]
    return tuple(f"{name}, {place}" if named.count(name) > 1 else name for place, name in enumerate(named, 1))


def differences_between(runs: Sequence[FinishedRun]) -> tuple[Difference, ...]:
    """Differences of the runs' settings and versions; also noted: runs of models that have the same weights."""
    specs = [run.manifest.spec for run in runs]
    versions = [{"finst": run.manifest.sessions[-1].finst, **run.manifest.sessions[-1].versions} for run in runs]
    settings = [
        Difference(name, values, misleads=name not in PRACTICAL)
        for name, values in _unequal(specs)
        if name not in COMPARED
    ]
    hashes = [run.manifest.model.hash for run in runs]
    same = len(set(hashes)) < len(hashes)
    weights = (
        [Difference("weights, some the same", tuple(value[:12] for value in hashes), misleads=True)] if same else []
    )
    return (*settings, *weights, *(Difference(name, values, misleads=False) for name, values in _unequal(versions)))


def _unequal(records: Sequence[dict[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    """(name, value in each record as text) of the entries that are not equal in all records."""
    names = dict.fromkeys(name for record in records for name in record)
    rows = {name: [record.get(name, "absent") for record in records] for name in names}
    return [
        (name, tuple("–" if value is None else str(value) for value in values))  # noqa: RUF001
        for name, values in rows.items()
        if any(value != values[0] for value in values)
    ]
