"""How large a run is, by arithmetic: what cannot be held is refused before anything is planned."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from finst.errors import FinstError

MOST_UNITS = 100_000
"""Units of a run, each of which is a file."""

TRIAL_BYTES = 4_000
"""Memory of a trial's scene and prompt, at least."""

CONTEXT_BYTES = 100_000
"""Memory of a picture as a model takes it, at least."""

NOTABLE_BYTES = 1 << 30
"""Sizes from here on are said before the work begins."""


@dataclass(frozen=True)
class Size:
    """The trials of a run and what they take, at least."""

    trials: int
    samples: str = "trials"
    """What the trials are."""
    per_unit: int = 1
    """Trials of a unit."""
    bytes_per_trial: int = 0
    """Measured data of a trial."""
    statistics: int = 0
    """Memory of permutations, resamples and pictures to estimate from, in bytes."""
    smaller: str = ""
    """Settings that make the run smaller, for the message of a refusal."""

    @property
    def units(self) -> int:
        """Number of units."""
        return -(-self.trials // self.per_unit)

    @property
    def disk(self) -> int:
        """Bytes of all units; compression seldom halves them."""
        return self.trials * self.bytes_per_trial // 2

    @property
    def memory(self) -> int:
        """Bytes of the design, of all data, which the statistics need at once, and of the pictures of a unit."""
        pictures = min(self.trials, self.per_unit) * CONTEXT_BYTES
        return self.trials * (TRIAL_BYTES + self.bytes_per_trial) + pictures + self.statistics

    @property
    def text(self) -> str:
        """The size in words."""
        return (
            f"{self.trials:,} {self.samples} in {self.units:,} units need at least {_gib(self.memory)} of memory and "
            f"{_gib(self.disk)} on disk"
        )

    @property
    def notable(self) -> bool:
        """Whether it is worth a line."""
        return max(self.memory, self.disk) >= NOTABLE_BYTES


def check_size(size: Size, out: Path) -> None:
    """Raises FinstError for a run that this machine's memory or the disk of ``out`` cannot hold, or of too many files.

    Nothing is made to find out.
    """
    memory, disk = free_memory(), free_disk(out)
    smaller = f"; expected less, by {size.smaller}" if size.smaller else "; expected a smaller run"
    if size.memory > memory:
        raise FinstError(f"{size.text}, and {_gib(memory)} of memory are free{smaller}")
    if size.disk > disk:
        raise FinstError(f"{size.text}, and {_gib(disk)} are free at {out}{smaller}, or another out folder")
    if size.units > MOST_UNITS:
        raise FinstError(
            f"{size.trials:,} {size.samples} make {size.units:,} units of {size.per_unit}, each of them a file: "
            f"expected at most {MOST_UNITS:,}, by larger units{f' or by {size.smaller}' if size.smaller else ''}"
        )


def free_disk(path: Path) -> int:
    """Bytes that are free where ``path`` is or will be. Raises FinstError where that cannot be known."""
    for folder in (path.absolute(), *path.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    raise FinstError(f"cannot find the disk of {path}: expected a folder on a disk that is there")


def free_memory() -> int:
    """Bytes of memory that this process may still take: of the machine and, where it has one, of its control group."""
    return min(_machine_memory(), *_group_memory())


def _machine_memory() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) << 10
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _group_memory() -> list[int]:
    """What the control group leaves, if it has a limit; twice the machine's memory for none."""
    found = [2 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    older = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")
    for limit, used in (("memory.max", "memory.current"), older):
        try:
            most, now = (int((Path("/sys/fs/cgroup") / name).read_text(encoding="ascii")) for name in (limit, used))
        except (OSError, ValueError):  # "max", or no such file
            continue
        found.append(max(0, most - now))
    return found


def _gib(count: int) -> str:
    gib = count / (1 << 30)
    return f"{gib:,.0f} GiB" if gib >= 10 else f"{gib:.1f} GiB"
