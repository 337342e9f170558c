"""Datasets as files: equal data are equal bytes, and damage is detected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import ZipStore

from finst.errors import FinstError
from finst.runs.archive import pack, unpack, write_atomically


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
