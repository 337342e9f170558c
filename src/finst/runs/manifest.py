"""manifest.json: what was run, on which model and machine, with which versions, and whether it is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from finst.errors import FinstError, cannot
from finst.runs.archive import write_atomically
from finst.runs.spec import from_json, to_json

FORMAT = 4
"""Version of the file format, raised whenever an older finst could not read what a newer one writes.

2: sessions have ``peak_memory``. 3: the file has a ``checksum`` of its other fields. 4: sessions have ``executor`` and
``workers``.
"""

OLDER = (1, 2, 3)
"""Formats that are also read: they lack only what may be absent."""

_UNCHECKED = (1, 2)
"""Formats without a checksum."""


@dataclass(frozen=True)
class ModelRecord:
    """The model that was measured. ``hash`` is the sha256 over its weight files."""

    id: str
    revision: str | None
    hash: str
    dtype: str
    device: str


@dataclass(frozen=True)
class Session:
    """One process that worked on the run; every resumption adds one."""

    started: str
    finst: str
    commit: str | None
    versions: dict[str, str]
    machine: dict[str, str]
    peak_memory: int | None = None
    """Peak GPU memory while units were measured, in bytes above the weights; None on the CPU and before any unit. Of
    several workers it is that of the one that used most."""
    executor: str = "here"
    """Who measured units: see ``finst.runs.backends``."""
    workers: tuple[str, ...] = ()
    """The device of each worker; empty in sessions of an older finst."""


@dataclass(frozen=True)
class Manifest:
    """The record of one run. Times are UTC, ISO 8601; ``unit_seconds`` maps a unit's name to its wall time.

    Units of several workers are measured at the same time, so their times add up to more than the run took.
    """

    format: int
    experiment: str
    spec: dict[str, Any]
    seed: int | None
    model: ModelRecord
    units: int
    sessions: tuple[Session, ...]
    status: Literal["running", "finished"] = "running"
    finished: str | None = None
    unit_seconds: dict[str, float] = field(default_factory=dict)

    def measured(self, unit: str, seconds: float, peak_memory: int | None) -> Manifest:
        """The same run with one more unit of so many ``seconds``.

        ``peak_memory`` is that of the unit's worker so far, in bytes; the last session keeps the largest.
        """
        *before, last = self.sessions
        peaks = [peak for peak in (last.peak_memory, peak_memory) if peak is not None]
        return replace(
            self,
            unit_seconds={**self.unit_seconds, unit: round(seconds, 3)},
            sessions=(*before, replace(last, peak_memory=max(peaks, default=None))),
        )

    def done(self, at: str) -> Manifest:
        """The same run, finished at this time unless it was finished before."""
        return replace(self, status="finished", finished=self.finished or at)

    def write(self, path: Path) -> None:
        """Replaces the file at ``path`` atomically. Raises FinstError when it cannot be written."""
        record = to_json(self)
        content = json.dumps({**record, "checksum": _checksum(record)}, indent=2, ensure_ascii=False)
        write_atomically(path, f"{content}\n".encode())

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Raises FinstError when the file cannot be read, is no manifest, is damaged, or is of a newer finst."""
        try:
            data = json.loads(path.read_bytes().decode("utf-8"))
        except OSError as cause:
            raise cannot("read", path, cause) from cause
        except (ValueError, RecursionError) as cause:
            raise _damaged(path, cause) from cause
        version = data.get("format") if isinstance(data, dict) else None
        if type(version) is not int or version not in (*OLDER, FORMAT):
            newer = type(version) is int and version > FORMAT
            raise FinstError(
                f"{path} is not a manifest of this finst: expected format {FORMAT}, found {version!r}"
                + (", which a newer finst wrote: update finst" if newer else "")
            )
        checksum = data.pop("checksum", None)
        try:
            manifest = from_json(cls, {**data, "format": FORMAT})
        except FinstError as cause:
            raise _damaged(path, cause) from cause
        if version not in _UNCHECKED and checksum != _checksum(data):
            raise _damaged(path, "it was changed after finst wrote it: its contents do not fit its checksum")
        if manifest.units < 0 or (manifest.status == "finished" and not manifest.sessions):
            raise _damaged(path, f"{manifest.units} units, {len(manifest.sessions)} sessions")
        return manifest


def _checksum(record: Mapping[str, Any]) -> str:
    """A hash of all fields, which shows that a file was changed."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, cause: object) -> FinstError:
    return FinstError(f"{path} is damaged ({cause}): choose another out folder, or delete this one")
