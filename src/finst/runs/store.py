"""A run on disk: a folder to which only whole files are added, and which holds one run.

manifest.json             what was run, and whether it is finished (see ``finst.runs.manifest``)
.lock                     held by the process that works here; the system releases it when that process dies
units/00000.zarr.zip ...  one dataset per unit
summary.zarr.zip          the numbers of the report
figures/NAME.png, .pdf, .csv   each figure beside the numbers it shows
report.html
README.md                 what is in the folder, and how to read it
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr
from filelock import FileLock, Timeout

from finst.errors import FinstError, cannot, check_path, writing
from finst.runs.archive import PARTIAL, SUFFIX, make_folder, pack, unpack, write_atomically
from finst.runs.manifest import FORMAT, Manifest, ModelRecord, Session
from finst.runs.readme import readme
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
        check_path(path)
        folder = cls(path, experiment, spec)
        with writing(path, "read"):
            if path.exists() and not path.is_dir():
                raise FinstError(f"{path} is a file: expected a folder for the run, new or of the same run")
            if folder.manifest_path.exists():
                folder._refuse_other_run(Manifest.read(folder.manifest_path))
            elif path.exists():
                folder._refuse_other_files()
            if folder.lock_path.exists():
                with folder.held():
                    pass
        return folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder and keeps other processes out of it until the block ends or this process dies.

        A block that fails before any unit is measured leaves the folder as it was: what was refused then can be
        corrected and run into the same folder. Raises FinstError when another process works on the run, or the folder
        cannot be made.
        """
        with writing(self.path, "make the folder"):
            made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            recorded, locked = self.manifest_path.exists(), self.lock_path.exists()
        lock = FileLock(self.lock_path, timeout=0)
        try:
            make_folder(self.path)
            lock.acquire()
        except Timeout as cause:
            raise FinstError(
                f"{self.path} is in use: another process works on this run; wait for it, or choose another out folder"
            ) from cause
        except OSError as cause:
            _remove_empty(made)
            raise cannot("work in the folder", self.path, cause) from cause
        try:
            yield
        except BaseException:
            if not recorded and self._is_bare():
                self._clear(keep_lock=locked)
            raise
        finally:
            lock.release()
            _remove_empty(made)

    def _refuse_other_files(self) -> None:
        ours = (self.lock_path.name, PARTIAL)
        foreign = sorted(p.name for p in self.path.iterdir() if not p.name.endswith(ours))
        if foreign:
            raise FinstError(
                f"{self.path} holds {foreign[0]!r} and no run: expected a new or empty folder, or one of the same run"
            )

    def _is_bare(self) -> bool:
        """Whether the folder holds nothing that was measured: at most a manifest, and empty folders."""
        kept = {self.manifest_path, self.lock_path, self.readme_path}
        with suppress(OSError):
            return all(path in kept or path.is_dir() or path.name.endswith(PARTIAL) for path in self.path.rglob("*"))
        return False

    def _clear(self, keep_lock: bool) -> None:
        """Removes what this process made in a folder without measured units, as far as the system allows."""
        files = [*self.path.rglob(f"*{PARTIAL}"), self.readme_path, self.manifest_path]
        files += [] if keep_lock else [self.lock_path]
        for file in files:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        _remove_empty([self.path / "units", self.path / "figures"])

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
    def readme_path(self) -> Path:
        """Where what explains the folder is, or will be."""
        return self.path / "README.md"

    @property
    def manifest(self) -> Manifest:
        """The manifest on disk."""
        return Manifest.read(self.manifest_path)

    def begin(self, model: ModelRecord, units: int, session: Session) -> Manifest:
        """Starts the folder's record, or adds a session to it. Call it while ``held``.

        Raises FinstError, with nothing changed, as ``check_session`` does.
        """
        recorded = self.check_session(model, units)
        if recorded is not None:
            manifest = replace(recorded, sessions=(*recorded.sessions, session))
        else:
            seed = self.spec.get("seed")
            manifest = Manifest(FORMAT, self.experiment, dict(self.spec), seed, model, units, (session,))
        for name in ("units", "figures"):
            make_folder(self.path / name)
        with writing(self.path):
            for leftover in (*self.path.rglob(f".*{PARTIAL}"),):
                leftover.unlink()
        manifest.write(self.manifest_path)
        write_atomically(self.readme_path, readme(self.experiment, manifest.model.id).encode())
        return manifest

    def check_session(self, model: ModelRecord, units: int) -> Manifest | None:
        """The manifest, if there is one. Writes nothing.

        Raises FinstError when spec, weights, kind of device or number of units differ from those of the earlier
        sessions.
        """
        if not self.manifest_path.exists():
            return None
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
        return recorded

    def _label(self, part: str) -> str:
        """Where a file belongs: a hash of the experiment and its settings, and the part of the run."""
        run = json.dumps([self.experiment, self.spec], sort_keys=True)
        return f"{hashlib.sha256(run.encode()).hexdigest()[:32]} {part}"

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
        write_atomically(self.unit_path(index), pack(data, self._label(f"unit {index}")))
        self.manifest.measured(f"{index:05d}", seconds, peak_memory).write(self.manifest_path)

    def read_unit(self, index: int) -> xr.Dataset:
        """A finished unit's data. Raises FinstError when the file is damaged, or is not this unit's."""
        return unpack(self.unit_path(index), self._label(f"unit {index}"))

    def write_figure(self, name: str, png: bytes, pdf: bytes, csv: str) -> None:
        """Stores a figure as PNG and PDF, with its numbers as CSV."""
        write_figure(self.path / "figures", name, png, pdf, csv)

    def write_summary(self, summary: xr.Dataset) -> None:
        """Stores the numbers that figures and report show."""
        write_atomically(self.summary_path, pack(summary, self._label("summary")))

    def read_summary(self) -> xr.Dataset:
        """The numbers of the report. Raises FinstError when the file is missing, damaged or of another run."""
        return unpack(self.summary_path, self._label("summary"))

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


def _remove_empty(folders: Sequence[Path]) -> None:
    """Removes those of the folders that are empty, in order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
