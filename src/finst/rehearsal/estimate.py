"""What a rehearsal says: time, memory and disk of every step of a plan, as data and as a table."""

# ruff: noqa: RUF001  (typeset text: dashes and apostrophes as readers expect them)

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from finst.errors import FinstError
from finst.rehearsal.growth import NOTHING, Span
from finst.report.tables import aligned
from finst.report.wording import counted, duration, listed
from finst.runs.archive import write_atomically
from finst.runs.spec import from_json, to_json

FORMAT = 1
"""Version of the file's format."""

JSON, CSV = "rehearsal.json", "rehearsal.csv"
"""The files in the folder of a rehearsal."""


@dataclass(frozen=True)
class Sample:
    """What the estimate of one step rests on."""

    trials: int
    """Trials (pairs of causal mediation) that were measured."""
    units: int
    """Units of which they were measured."""
    pictures: int
    """The most pictures from which was estimated, in ``prepare``; 0 where nothing is."""
    statistics: int
    """The most trials whose statistics were computed."""


@dataclass(frozen=True)
class StepEstimate:
    """The estimate of one step, at the plan's size; times in seconds, sizes in bytes."""

    name: str
    experiment: str
    key: str
    """Identifies experiment, settings, shape of the model, number format and machine."""
    reason: str = ""
    """Why there is no estimate; empty otherwise."""
    trials: int = 0
    """Of the plan."""
    units: int = 0
    total: Span = NOTHING
    fixed: float = 0.0
    """The part of the total that does not grow with the number of trials and pictures."""
    prepare: Span = NOTHING
    measure: Span = NOTHING
    statistics: Span = NOTHING
    report: Span = NOTHING
    """Figures and page."""
    host_bytes: int = 0
    gpu_bytes: int | None = None
    disk_bytes: int = 0
    sample: Sample | None = None


@dataclass(frozen=True)
class Rehearsal:
    """A plan, rehearsed."""

    format: int
    title: str
    """The plan’s."""
    model: str
    dtype: str
    device: str
    machine: dict[str, str]
    made: str
    """UTC, ISO 8601."""
    took: float
    """Seconds of the rehearsal itself, reading or making weights excluded."""
    notes: tuple[str, ...]
    """What stands for what, and what is not included."""
    steps: tuple[StepEstimate, ...]

    @property
    def text(self) -> str:
        """The table for a terminal, and what it rests on."""
        head = ("step", "time", "range", "of it fixed", "host memory", "GPU memory", "on disk", "rests on")
        lines = aligned([head, *map(_row, self.steps), _last_row(self.steps)])
        device = self.machine["gpu"] if self.device.startswith("cuda") else self.machine["cpu"]
        return "\n".join(
            [
                f"{self.model} in {self.dtype} on {device} ({self.machine['threads']} threads): {self.title}",
                "",
                *lines,
                "",
                *self.notes,
            ]
        )


def write_rehearsal(folder: Path, rehearsal: Rehearsal) -> None:
    """Writes ``JSON`` and ``CSV`` into the folder, which exists."""
    text = json.dumps(to_json(rehearsal), indent=2, ensure_ascii=False)
    write_atomically(folder / JSON, f"{text}\n".encode())
    write_atomically(folder / CSV, _table(rehearsal.steps).encode())


def read_rehearsal(folder: Path) -> Rehearsal | None:
    """The rehearsal in the folder; None without one. Raises FinstError when it is damaged or of another version."""
    path = folder / JSON
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise FinstError(f"expected format {FORMAT}")
        return from_json(Rehearsal, data)
    except (ValueError, FinstError) as cause:
        raise FinstError(f"{path} is damaged ({cause}): choose another out folder, or delete this file") from cause


def total_of(steps: Sequence[StepEstimate]) -> Span:
    """Seconds of all steps that have an estimate."""
    return sum((step.total for step in steps), NOTHING)


def size(count: int) -> str:
    """Bytes as ``3.1 GiB`` or ``12 MiB``."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def between(span: Span) -> str:
    """The range: ``10 min to 15 min``."""
    return f"{duration(span.low)} to {duration(span.high)}"


def _row(step: StepEstimate) -> tuple[str, ...]:
    if step.sample is None:
        return (step.name, "no estimate", *[""] * 5, step.reason)
    gpu = "–" if step.gpu_bytes is None else size(step.gpu_bytes)
    times = (duration(step.total.value), between(step.total), duration(step.fixed))
    return (step.name, *times, size(step.host_bytes), gpu, size(step.disk_bytes), _basis(step, step.sample))


def _basis(step: StepEstimate, sample: Sample) -> str:
    """``8 of 200 trials in 4 units, 16 pictures, statistics of 64``."""
    parts = [f"{sample.trials:,} of {counted(step.trials, 'trial')} in {counted(sample.units, 'unit')}"]
    if sample.pictures:
        parts.append(f"estimates from up to {counted(sample.pictures, 'picture')}")
    parts.append(f"statistics of up to {counted(sample.statistics, 'trial')}")
    return ", ".join(parts)


def _last_row(steps: Sequence[StepEstimate]) -> tuple[str, ...]:
    known = [step for step in steps if step.sample is not None]
    total = total_of(known)
    host = max((step.host_bytes for step in known), default=0)
    gpu = max((step.gpu_bytes for step in known if step.gpu_bytes is not None), default=None)
    disk, fixed = (sum(getattr(step, name) for step in known) for name in ("disk_bytes", "fixed"))
    times = (duration(total.value), between(total), duration(fixed))
    missing = [step.name for step in steps if step.sample is None]
    without = f"without {listed(missing)}" if missing else ""
    return ("in all", *times, size(host), "–" if gpu is None else size(gpu), size(disk), without)


def _table(steps: Sequence[StepEstimate]) -> str:
    """One row a step; nested fields as ``total_low``."""
    rows = []
    for step in steps:
        row: dict[str, object] = {}
        for name, value in asdict(step).items():
            nested = value if isinstance(value, dict) else None
            row |= {name: value} if nested is None else {f"{name}_{part}": each for part, each in nested.items()}
        rows.append(row)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
