"""reproduction.json: what became of every step of a plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from finst.errors import FinstError
from finst.plans.subjects import RECORD
from finst.runs.archive import write_atomically
from finst.runs.spec import from_json, to_json

FORMAT = 1
"""Version of the file's format."""

Status = Literal["waiting", "running", "finished", "cannot run", "failed"]


@dataclass(frozen=True)
class StepRecord:
    """What became of one step."""

    name: str
    experiment: str
    status: Status = "waiting"
    reason: str = ""
    """Why it cannot run or failed; empty otherwise."""
    key: str = ""
    """Identifies settings, weights and the heads that it edits: a finished step with the same key is not run again."""
    seconds: float | None = None
    """Wall time of the process that finished it, model loading excluded; None before the end."""


@dataclass(frozen=True)
class Reproduction:
    """The record of one reproduction."""

    format: int
    title: str
    model: str
    weights: str
    """The sha256 over the weight files."""
    steps: tuple[StepRecord, ...]

    @property
    def complete(self) -> bool:
        """Whether every step is finished."""
        return all(step.status == "finished" for step in self.steps)

    def step(self, name: str) -> StepRecord:
        """The step of this name."""
        return next(step for step in self.steps if step.name == name)

    def updated(self, name: str, **changes: Any) -> Reproduction:
        """The same record with fields of one step changed."""
        return replace(
            self, steps=tuple(replace(step, **changes) if step.name == name else step for step in self.steps)
        )


def record_path(folder: Path) -> Path:
    """Where the record of the reproduction in ``folder`` is, or will be."""
    return folder / RECORD


def write_record(folder: Path, record: Reproduction) -> None:
    """Replaces the record atomically."""
    write_atomically(record_path(folder), f"{json.dumps(to_json(record), indent=2, ensure_ascii=False)}\n".encode())


def read_record(folder: Path) -> Reproduction | None:
    """The record in ``folder``; None if there is none. Raises FinstError when it is damaged or of a newer finst."""
    path = record_path(folder)
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise FinstError(f"expected format {FORMAT}")
        return from_json(Reproduction, data)
    except (ValueError, FinstError) as cause:
        raise FinstError(f"{path} is damaged ({cause}): choose another out folder, or delete this file") from cause


def key_of(experiment: str, spec: Mapping[str, Any], weights: str, heads: str) -> str:
    """Equal keys mean equal results. ``heads`` is the key of the step whose heads the step edits, or ""."""
    text = json.dumps([experiment, dict(spec), weights, heads], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
