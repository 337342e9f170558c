"""The stored runs of an older finst (see ``old/README.md``)."""

from __future__ import annotations

import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent / "old"


def unpacked(name: str, folder: Path) -> Path:
    """The run of an experiment, unpacked as ``folder/NAME``."""
    with zipfile.ZipFile(FOLDER / f"{name}.zip") as archive:
        archive.extractall(folder / name)
    return folder / name
