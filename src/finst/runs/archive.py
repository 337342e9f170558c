"""A dataset as one file: a zipped zarr (format 3) whose bytes depend only on the data."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import xarray as xr
from zarr.abc.buffer import Buffer
from zarr.buffer import cpu
from zarr.storage import MemoryStore

from finst.errors import FinstError

SUFFIX = ".zarr.zip"

PARTIAL = ".partial"
"""Suffix of files that are still being written. What a killed run leaves under such a name is incomplete."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip entry can carry. The time of writing would give equal data unequal bytes."""

_DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, UnicodeDecodeError, ValueError)
"""What zipfile raises for a damaged file. A flipped bit may also look like encryption or an unknown compression."""


def pack(dataset: xr.Dataset) -> bytes:
    """The bytes of the zip: entries in alphabetical order, without times. zarr compresses, the zip only collects."""
    contents: dict[str, Buffer] = {}
    _storable(dataset).to_zarr(MemoryStore(contents), zarr_format=3, consolidated=False, mode="w")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), contents[name].to_bytes())
    return packed.getvalue()


def _storable(dataset: xr.Dataset) -> xr.Dataset:
    """Fixed-width texts as variable-width ones: zarr 3 specifies no others."""
    return _texts(dataset, "U", object)


def _texts(dataset: xr.Dataset, kinds: str, to: type) -> xr.Dataset:
    """The texts of a dataset, found by the ``kinds`` of their dtypes, as arrays of ``to``."""
    texts = {
        name: (v.dims, np.array(v.values.tolist(), dtype=to), v.attrs)
        for name, v in dataset.variables.items()
        if v.dtype.kind in kinds
    }
    coords = {name: text for name, text in texts.items() if name in dataset.coords}
    return dataset.assign_coords(coords).assign({name: text for name, text in texts.items() if name not in coords})


def unpack(path: Path) -> xr.Dataset:
    """The dataset of a file that ``pack`` made, in memory, with fixed-width texts.

    Raises FinstError when the file is damaged: the checksums of the zip cover all of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            contents: dict[str, Buffer] = {n: cpu.Buffer.from_bytes(archive.read(n)) for n in archive.namelist()}
    except _DAMAGE as cause:
        raise FinstError(f"{path} is damaged ({cause}): delete this file and run again; the rest is kept") from cause
    return _texts(xr.open_zarr(MemoryStore(contents), consolidated=False, chunks=None).load(), "OT", str)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes all of the file or nothing of it, also when the process or the machine dies in between."""
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    if os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
