"""A dataset as one file: a zipped zarr (format 3) whose bytes depend only on the data, and on where it belongs."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import xarray as xr
from zarr.abc.buffer import Buffer
from zarr.buffer import cpu
from zarr.storage import MemoryStore

from finst.errors import FinstError, cannot, check_path, writing

SUFFIX = ".zarr.zip"

PARTIAL = ".partial"
"""Suffix of files that are still being written. What a killed run leaves under such a name is incomplete."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip entry can carry. The time of writing would give equal data unequal bytes."""


def pack(dataset: xr.Dataset, label: str = "") -> bytes:
    """The bytes of the zip: entries in alphabetical order, without times. zarr compresses, the zip only collects.

    The zip's comment holds a checksum of all entries, and the ``label``, which says where the file belongs.
    """
    contents: dict[str, Buffer] = {}
    _storable(dataset).to_zarr(MemoryStore(contents), zarr_format=3, consolidated=False, mode="w")
    entries = {name: contents[name].to_bytes() for name in sorted(contents)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
        archive.comment = f"{label} {_checksum(entries)}".encode()
    return packed.getvalue()


def _checksum(entries: Mapping[str, bytes]) -> str:
    """A hash of the names and contents of all entries."""
    digest = hashlib.sha256()
    for name in sorted(entries):
        digest.update(f"{name}\n{len(entries[name])}\n".encode())
        digest.update(entries[name])
    return digest.hexdigest()


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


def unpack(path: Path, label: str | None = None) -> xr.Dataset:
    """The dataset of a file that ``pack`` made, in memory, with fixed-width texts.

    Raises FinstError when the file cannot be read, is damaged, or has another ``label``: then it was written for
    another run or another place in it. A file without a label, as older versions of finst wrote, fits everywhere.
    """
    try:
        packed = path.read_bytes()
    except OSError as cause:
        raise cannot("read", path, cause) from cause
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            entries, comment = {name: archive.read(name) for name in archive.namelist()}, archive.comment.decode()
        found, _, checksum = comment.rpartition(" ")
        if not _whole(packed) or (comment and checksum != _checksum(entries)):
            raise ValueError("its contents do not fit its length or its checksum")
        if json.loads(entries.get("zarr.json", b"{}")).get("node_type") != "group":
            raise ValueError("it holds no dataset")
        contents: dict[str, Buffer] = {name: cpu.Buffer.from_bytes(content) for name, content in entries.items()}
        dataset = _texts(xr.open_zarr(MemoryStore(contents), consolidated=False, chunks=None).load(), "OT", str)
    except Exception as cause:  # a flipped bit may look like anything: encryption, another dtype, another codec
        raise FinstError(f"{path} is damaged ({cause}): delete this file and run again; the rest is kept") from cause
    if found and label is not None and found != label:
        raise FinstError(
            f"{path} was written for another run, or for another place in this one: delete this file and run again; "
            "the rest is kept"
        )
    return dataset


def _whole(packed: bytes) -> bool:
    """Whether a zip ends where its last record says; zipfile accepts a comment that is cut off."""
    end = packed.rfind(b"PK\5\6")
    return end + 22 + int.from_bytes(packed[end + 20 : end + 22], "little") == len(packed)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes all of the file or nothing of it, also when the process or the machine dies in between.

    Raises FinstError, with what to do, when the system refuses: a full disk, a read-only folder, a name too long.
    """
    check_path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with writing(path):
            _write_synced(partial, content)
            os.replace(partial, path)
    except FinstError:
        with suppress(OSError):
            partial.unlink()
        raise
    _sync_folder(path.parent)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes a new name in ``folder`` outlast a crash of the machine, where its file system can do so."""
    if os.name != "posix":
        return
    try:
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as cause:
        if cause.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            raise cannot("write", folder, cause) from cause


def make_folder(path: Path) -> None:
    """Makes the folder and its parents unless they are there. Raises FinstError, with what to do, where it cannot."""
    check_path(path)
    with writing(path, "make the folder"):
        path.mkdir(parents=True, exist_ok=True)
