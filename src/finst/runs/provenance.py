"""Where numbers come from: versions, commit and machine of this process."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from finst.runs.manifest import Session

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pillow", "safetensors", "xarray", "zarr")
"""The packages that numbers depend on."""


def now() -> str:
    """The time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def session() -> Session:
    """The record of this process, starting now."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    return Session(now(), _finst(), commit(Path(__file__).parent), versions, machine())


def _finst() -> str:
    try:
        return version("finst")
    except PackageNotFoundError:
        return "not installed"


def commit(folder: Path) -> str | None:
    """The git commit of the checkout that tracks ``folder``'s files, with "+changes" if files were edited.

    None outside a checkout, and where finst is merely installed below an unrelated repository.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if not git("ls-files", "."):
        return None
    head = git("rev-parse", "HEAD")
    return f"{head}+changes" if head and git("status", "--porcelain", "--untracked-files=no") else head


def machine() -> dict[str, str]:
    """System, processor, accelerator and threads; nothing that names a person or a host."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "gpu": ", ".join(gpus) or "none",
    }


def _cpu() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
