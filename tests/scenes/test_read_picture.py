"""Files, images and arrays: what is read, and what is refused by name and reason."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finst.errors import FinstError
from finst.scenes import read_picture
from finst.scenes.read_picture import check_pixels, read_file, read_image, read_labels, smaller
from finst.scenes.to_rgb import Shown

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
WHITE = np.full((40, 60, 3), 255, np.uint8)


def saved(folder: Path, name: str, image: np.ndarray = NOISE, **options: Any) -> Path:
    file = folder / name
    Image.fromarray(image).save(file, **options)
    return file


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "ppm", "JPG", "jfif", "gif", "webp", "jp2", "avif"])
def test_formats_are_known_by_their_content(tmp_path: Path, ending: str) -> None:
    file = saved(tmp_path, f"a.{ending}", WHITE)
    assert np.abs(read_file(file).pixels.astype(int) - WHITE).max() <= 3
    renamed = file.rename(tmp_path / "b.png")
    assert read_file(renamed).pixels.shape == WHITE.shape


def bomb(width: int, height: int) -> bytes:
    """A small PNG file that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"no picture", "in no format that is read; expected PNG, JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "in no format that is read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "in no format that is read"),
        (bomb(0, 5), "in no format"),
        (bomb(12_000, 12_000), "12000x12000 px: expected at most 134217728"),
        (bomb(60_000, 60_000), "too many px"),
        (bomb(200, 200), "damaged"),
    ],
)
def test_what_is_no_whole_picture_is_refused_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(content)
    with pytest.raises(FinstError, match=rf"^x cannot be read as a picture: .*({reason})"):
        read_file(file, "x")


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm", "jp2"])
def test_truncated_files_are_refused_at_any_length(tmp_path: Path, ending: str) -> None:
    file = saved(tmp_path, f"a.{ending}")
    whole = file.read_bytes()
    for share in (0.02, 0.3, 0.6, 0.9):
        file.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(FinstError, match="cannot be read as a picture"):
            read_file(file)


def test_a_png_with_any_byte_flipped_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, "a.png")
    whole = file.read_bytes()
    for place in np.random.default_rng(0).integers(8, len(whole), 40).tolist():
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(FinstError, match="cannot be read as a picture"):
            read_file(file)


def test_places_without_a_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(FinstError, match=r"none\.png cannot be read as a picture: there is no such file"):
        read_file(tmp_path / "none.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FinstError, match="the file that it links to is gone"):
        read_file(tmp_path / "link.png")
    os.mkfifo(tmp_path / "pipe.png")
    for name in (tmp_path, tmp_path / "pipe.png"):
        with pytest.raises(FinstError, match="it is no file"):
            read_file(name)
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(FinstError, match="cannot be read as a picture"):
        read_file(tmp_path / "loop.png")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything is open to this user")
def test_closed_files_are_named(tmp_path: Path) -> None:
    file = saved(tmp_path, "a.png")
    file.chmod(stat.S_IWUSR)
    with pytest.raises(FinstError, match="Permission denied"):
        read_file(file)


def test_what_pillow_warns_of_is_said(tmp_path: Path) -> None:
    file = saved(tmp_path, "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\xff\x01\x12")
    assert any(note.startswith("Pillow warns: ") for note in read_file(file).notes)


def test_images_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, "a.png")
    file.write_bytes(file.read_bytes()[:3000])
    with Image.open(file) as image, pytest.raises(FinstError, match=r"^the picture cannot be shown: it is damaged"):
        read_image(image)
    with pytest.raises(FinstError, match="0x5 px: expected at least one pixel"):
        read_image(Image.new("RGB", (0, 5)))
    closed = Image.open(saved(tmp_path, "b.png"))
    closed.close()
    with pytest.raises(FinstError, match="the picture cannot be shown"):
        read_image(closed)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        ((WHITE / 255).astype(np.float32), r"values lie between 1 and 1: np\.rint\(255 \* image\)"),
        (WHITE.astype(float), "values lie between 255 and 255: expected|255$"),
        (np.full((40, 60, 3), np.nan), "not finite"),
        (np.full((40, 60, 3), -1.5), "between -1.5 and -1.5"),
        (WHITE > 0, r"255 \* image"),
        (WHITE.transpose(2, 0, 1), r"image\.transpose\(1, 2, 0\) puts channels last"),
        (WHITE.astype(np.uint16) * 257, r"image // 257"),
        (WHITE.astype(np.int64), r"image\.astype\(np\.uint8\) makes 8 bits of them"),
        (WHITE[..., 0], r"fromarray makes a PIL image of grey"),
        (np.zeros((40, 60, 4), np.uint8), r"fromarray"),
        (np.zeros((0, 60, 3), np.uint8), r"shape \(0, 60, 3\)"),
        (WHITE[None], r"shape \(1, 40, 60, 3\)"),
        (WHITE.astype(complex), "complex128"),
        (WHITE.tolist(), r"int64 with shape \(40, 60, 3\) \(a list\)"),
        ("a.png", r"\(a str\)"),
        (None, r"\(a NoneType\)"),
        ([[1], [2, 3]], "list that is no array"),
        (np.ma.masked_equal(WHITE, 255), "masked array"),
    ],
)
def test_arrays_of_other_kinds_are_refused_with_what_was_expected(array: Any, expected: str) -> None:
    with pytest.raises(FinstError, match=expected) as error:
        read_image(array)
    assert "8-bit RGB" in str(error.value)


def test_arrays_of_8_bit_rgb_are_taken_as_they_are() -> None:
    assert check_pixels(NOISE) is NOISE
    assert np.array_equal(read_image(NOISE[::-1, ::2]).pixels, NOISE[::-1, ::2])


def test_labels_are_numbers_and_not_colours(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [2, 1]], np.uint8)
    for name, image in {
        "grey.png": Image.fromarray(labels),
        "deep.png": Image.fromarray(labels.astype(np.uint16)),
        "palette.png": Image.fromarray(labels, "P"),
    }.items():
        if image.mode == "P":
            image.putpalette([255, 255, 255, 9, 9, 9, 0, 0, 0])
        image.save(tmp_path / name)
        assert np.array_equal(read_labels(tmp_path / name), labels)
    saved(tmp_path, "rgb.png")
    with pytest.raises(FinstError, match="mode RGB: expected one number a pixel"):
        read_labels(tmp_path / "rgb.png")


def test_labels_are_turned_with_their_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    labels = np.array([[0, 1, 2]], np.uint8)
    saved(tmp_path, "a.png", labels, exif=exif)
    assert read_labels(tmp_path / "a.png").tolist() == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("size", "px", "expected"), [((40, 60), 30, (20, 30)), ((12, 4000), 448, (2, 448)), ((1, 1), 9, (1, 1))]
)
def test_pictures_are_shrunk_and_never_enlarged(size: tuple[int, int], px: int, expected: tuple[int, int]) -> None:
    assert smaller(Shown(np.zeros((*size, 3), np.uint8), ("note",)), px).pixels.shape[:2] == expected


def test_all_listed_formats_are_pillows() -> None:
    Image.init()
    assert [name for name in read_picture.FORMATS if name not in Image.OPEN] == []
