"""Datasets as files: equal data are equal bytes, and damage is detected."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import ZipStore

from finst.errors import FinstError
from finst.runs.archive import make_folder, pack, unpack, write_atomically


def a_dataset(seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(3, 4)).astype(np.float32)
    scores[0, 0] = np.nan
    return xr.Dataset(
        {
            "scores": (("trial", "layer"), scores, {"unit": "logits"}),
            "usable": ("trial", np.array([True, False, True])),
            "answer": ("trial", np.array(["red", "yellow", "grün"])),
            "noise": ((), 1e-6),
            "none": ("nothing", np.zeros(0)),
        },
        coords={
            "trial": np.array(["p", "q", "rr"]),
            "layer": np.arange(4),
            "side": ("trial", ["left", "right", "left"]),
        },
        attrs={"model": "organism", "answers": [1, 2], "share": 0.5},
    )


def test_data_survive(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr.zip"
    write_atomically(path, pack(a_dataset()))
    xr.testing.assert_identical(unpack(path), a_dataset())
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr.zip"]


def test_others_can_read_it_with_plain_xarray(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr.zip"
    write_atomically(path, pack(a_dataset()))
    with ZipStore(path, mode="r") as store:
        read = xr.open_zarr(store, consolidated=False, chunks=None)
        np.testing.assert_array_equal(read.scores, a_dataset().scores)
        assert read.attrs == a_dataset().attrs


def test_equal_data_are_equal_bytes_and_other_data_are_not() -> None:
    assert pack(a_dataset(1)) == pack(a_dataset(1))
    assert pack(a_dataset(1)) != pack(a_dataset(2))


PACKED = pack(a_dataset())


@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255))
def test_no_flipped_bits_go_unnoticed(tmp_path_factory: pytest.TempPathFactory, place: int, flip: int) -> None:
    damaged = bytearray(PACKED)
    damaged[place] ^= flip
    path = tmp_path_factory.getbasetemp() / "flipped.zarr.zip"
    path.write_bytes(damaged)
    try:
        read = unpack(path)
    except FinstError as error:
        message = str(error)
    else:
        # Some bits say nothing about the data, such as the permissions of an entry.
        xr.testing.assert_identical(read, a_dataset())
        return
    assert "flipped.zarr.zip is damaged" in message
    assert "delete this file and run again" in message


@given(st.integers(0, len(PACKED) - 1))
def test_half_a_file_is_noticed(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "half.zarr.zip"
    path.write_bytes(PACKED[:length])
    with pytest.raises(FinstError, match=r"half\.zarr\.zip is damaged"):
        unpack(path)


def test_a_file_knows_where_it_belongs(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr.zip"
    write_atomically(path, pack(a_dataset(), "this run unit 1"))
    assert unpack(path).identical(a_dataset())
    assert unpack(path, "this run unit 1").identical(a_dataset())
    for label in ("this run unit 2", "that run unit 1"):
        with pytest.raises(FinstError, match="was written for another run, or for another place in this one: delete"):
            unpack(path, label)
    write_atomically(path, pack(a_dataset()))
    assert unpack(path, "this run unit 1").identical(a_dataset()), "files of older versions have no label"


def test_a_zip_of_other_contents_is_damaged(tmp_path: Path) -> None:
    """Whole by its own checksums, but no dataset."""
    path = tmp_path / "a.zarr.zip"
    for names in ((), ("zarr.json",), ("a", "b/c")):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"{}")
        with pytest.raises(FinstError, match="is damaged"):
            unpack(path)


@pytest.mark.parametrize(("number", "words"), [
    (errno.ENOSPC, "free some space"), (errno.EDQUOT, "free some space"), (errno.EFBIG, "free some space"),
    (errno.EROFS, "where you may write"), (errno.EACCES, "where you may write"), (errno.EIO, "choose another place"),
])  # fmt: skip
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_whatever_the_system_refuses_is_one_message_and_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str, call: str
) -> None:
    path = tmp_path / "a.zarr.zip"
    path.write_bytes(b"before")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(FinstError, match=rf"cannot write .*a\.zarr\.zip: .*{words}.*the same command resumes"):
        write_atomically(path, b"after")
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["a.zarr.zip"]
    assert path.read_bytes() == b"before"


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    for name in ("a\0b", "\ud800"):
        with pytest.raises(FinstError, match="holds characters that no file name can have"):
            write_atomically(tmp_path / name, b"")
    with pytest.raises(FinstError, match="choose a shorter name"):
        write_atomically(tmp_path / ("x" * 300), b"")
    with pytest.raises(FinstError, match="cannot make the folder"):
        make_folder(tmp_path / ("x" * 300))
