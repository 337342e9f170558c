"""A run on disk: a folder to which only whole files are added, and which holds one run.

manifest.json             what was run, and whether it is finished (see ``finst.runs.manifest``)
.lock                     held by the process that works here; the system releases it when that process dies
units/00000.zarr.zip ...  one dataset per unit
summary.zarr.zip          the numbers of the report
figures/NAME.png, .pdf, .csv   each figure beside the numbers it shows
report.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr
from filelock import FileLock, Timeout

from finst.errors import FinstError
from finst.runs.archive import PARTIAL, SUFFIX, pack, unpack, write_atomically
from finst.runs.manifest import FORMAT, Manifest, ModelRecord, Session
from finst.runs.spec import differences


@dataclass(frozen=True)
class RunFolder:
    """The folder of the run of ``experiment`` with ``spec`` (as JSON). ``claim`` makes one."""

    path: Path
    experiment: str
    spec: Mapping[str, Any]

    @classmethod
    def claim(cls, path: Path, experiment: str, spec: Mapping[str, Any]) -> RunFolder:
        """The folder at ``path`` for this run: new, empty, or holding this very run. Writes nothing.

        Raises FinstError when it holds anything else, or another process works on it.
        """
        if path.exists() and not path.is_dir():
            raise FinstError(f"{path} is a file: expected a folder for the run, new or of the same run")
        folder = cls(path, experiment, spec)
        if folder.manifest_path.exists():
            folder._refuse_other_run(Manifest.read(folder.manifest_path))
        elif path.exists():
            ours = (folder.lock_path.name, PARTIAL)
            foreign = sorted(p.name for p in path.iterdir() if not p.name.endswith(ours))
            if foreign:
                raise FinstError(
                    f"{path} holds {foreign[0]!r} and no run: expected a new or empty folder, or one of the same run"
                )
        if folder.lock_path.exists():
            with folder.held():
                pass
        return folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder and keeps other processes out of it until the block ends or this process dies.

        Raises FinstError when another process works on the run, or the folder cannot be made.
        """
        lock = FileLock(self.lock_path, timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as cause:
            raise FinstError(
                f"{self.path} is in use: another process works on this run; wait for it, or choose another out folder"
            ) from cause
        except OSError as cause:
            raise FinstError(f"cannot make the folder {self.path}: {cause.strerror}") from cause
        try:
            yield
        finally:
            lock.release()

    def _refuse_other_run(self, recorded: Manifest) -> None:
        if recorded.experiment != self.experiment:
            other = f"experiment {recorded.experiment!r}, not {self.experiment!r}"
        else:
            other = "; ".join(differences(recorded.spec, self.spec))
        if other:
            raise FinstError(f"{self.path} holds another run ({other}): choose another out folder; nothing was changed")

    @property
    def manifest_path(self) -> Path:
        """Where the manifest is, or will be."""
        return self.path / "manifest.json"

    @property
    def lock_path(self) -> Path:
        """The file by which a process holds the folder; it may also be there when none does."""
        return self.path / ".lock"

    @property
    def report_path(self) -> Path:
        """Where the report is, or will be."""
        return self.path / "report.html"

    @property
    def summary_path(self) -> Path:
        """Where the summary is, or will be."""
        return self.path / f"summary{SUFFIX}"

    @property
    def manifest(self) -> Manifest:
        """The manifest on disk."""
        return Manifest.read(self.manifest_path)

    def begin(self, model: ModelRecord, units: int, session: Session) -> Manifest:
        """Starts the folder's record, or adds a session to it. Call it while ``held``.

        Raises FinstError, with nothing changed, when spec, weights, kind of device or number of units differ from those
        of the earlier sessions.
        """
        if self.manifest_path.exists():
            recorded = self.manifest
            self._refuse_other_run(recorded)
            if recorded.model.hash != model.hash:
                raise FinstError(
                    f"{self.path} holds a run of other weights of {model.id} "
                    f"({recorded.model.hash[:12]} there, {model.hash[:12]} here): choose another out folder"
                )
            if _kind(recorded.model.device) != _kind(model.device):
                raise FinstError(
                    f"{self.path} holds a run on {recorded.model.device} and this one is on {model.device}, which "
                    f"rounds differently: use {_kind(recorded.model.device)} again, or choose another out folder"
                )
            if recorded.units != units:
                raise FinstError(
                    f"{self.path} holds a run of {recorded.units} units and this finst plans {units}: "
                    "choose another out folder"
                )
            manifest = replace(recorded, sessions=(*recorded.sessions, session))
        else:
            seed = self.spec.get("seed")
            manifest = Manifest(FORMAT, self.experiment, dict(self.spec), seed, model, units, (session,))
        (self.path / "units").mkdir(exist_ok=True)
        (self.path / "figures").mkdir(exist_ok=True)
        for leftover in (*self.path.rglob(f".*{PARTIAL}"),):
            leftover.unlink()
        manifest.write(self.manifest_path)
        return manifest

    def unit_path(self, index: int) -> Path:
        """Where the data of unit ``index`` is, or will be."""
        return self.path / "units" / f"{index:05d}{SUFFIX}"

    def has_unit(self, index: int) -> bool:
        """Whether the unit is finished; a unit that was only partly written does not exist."""
        return self.unit_path(index).exists()

    def write_unit(self, index: int, data: xr.Dataset, seconds: float, peak_memory: int | None) -> None:
        """Stores a unit's data; its time in ``seconds`` and the memory go to the manifest, not into the data.

        ``peak_memory`` is the peak of this session so far, in bytes; None on the CPU.
        """
        write_atomically(self.unit_path(index), pack(data))
        self.manifest.measured(f"{index:05d}", seconds, peak_memory).write(self.manifest_path)

    def read_unit(self, index: int) -> xr.Dataset:
        """A finished unit's data. Raises FinstError when the file is damaged."""
        return unpack(self.unit_path(index))

    def write_figure(self, name: str, png: bytes, pdf: bytes, csv: str) -> None:
        """Stores a figure as PNG and PDF, with its numbers as CSV."""
        write_figure(self.path / "figures", name, png, pdf, csv)

    def write_summary(self, summary: xr.Dataset) -> None:
        """Stores the numbers that figures and report show."""
        write_atomically(self.summary_path, pack(summary))

    def write_report(self, html: str) -> None:
        """Stores the report."""
        write_atomically(self.report_path, html.encode())

    def finish(self, manifest: Manifest) -> None:
        """Stores the manifest of the finished run, as the last file that is written."""
        manifest.write(self.manifest_path)


def write_figure(folder: Path, name: str, png: bytes, pdf: bytes, csv: str) -> None:
    """Writes a figure into an existing folder as PNG and PDF, with its numbers as CSV."""
    write_atomically(folder / f"{name}.png", png)
    write_atomically(folder / f"{name}.pdf", pdf)
    write_atomically(folder / f"{name}.csv", csv.encode())


def _kind(device: str) -> str:
    """``"cuda"`` for ``"cuda:1"``."""
    return device.partition(":")[0]
