"""The one way in for pictures from outside: files, PIL images, arrays. What cannot be shown is refused with the reason.

``to_rgb`` has the rules for colours, depth and transparency.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from finst.errors import FinstError
from finst.scenes.to_rgb import Shown, to_rgb

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "AVIF")
"""Formats that are read, as Pillow names them. A file is what its content says, whatever its name ends with."""

READ_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)
"""Endings of the files that are read, in upper or lower case."""

OTHER_ENDINGS = (
    *(".heic", ".heif", ".svg", ".psd", ".jxl", ".exr", ".hdr", ".tga", ".ico", ".dib", ".pcx", ".eps"),
    *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw"),
)
"""Endings of pictures in formats that are not read: such files are left out by name."""

MOST_PX = 2**27
"""Pixels of the largest picture that is read, 134 million: a few bytes may claim to be more than memory holds."""

_PNG = b"\x89PNG\r\n\x1a\n"

_HARMLESS = (DeprecationWarning, PendingDeprecationWarning, Image.DecompressionBombWarning)


def read_file(file: Path, name: str = "") -> Shown:
    """A picture file as 8-bit RGB; of several frames or pages the first.

    Raises FinstError, which calls the file ``name`` (by default its path), when it is missing, empty, closed to this
    user, damaged, truncated, larger than ``MOST_PX``, in a format that is not read, or in a mode whose range is not
    known.
    """
    with _refused(f"{name or file} cannot be read as a picture") as warned, _opened(file) as image:
        shown = to_rgb(image)
    return replace(shown, notes=(*shown.notes, *_warnings(warned)))


def read_labels(file: Path, name: str = "") -> Int[np.ndarray, "height width"]:
    """The numbers that a picture file holds, neither scaled nor coloured; upright. Raises FinstError as ``read_file``
    does, and for a picture of several channels."""
    with _refused(f"{name or file} cannot be read as a picture"), _opened(file) as image:
        if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
            raise FinstError(f"it has the mode {image.mode}: expected one number a pixel, such as 8-bit grey")
        return np.asarray(ImageOps.exif_transpose(image)).astype(np.int64)


def read_image(image: Any, name: str = "the picture") -> Shown:
    """A PIL image (its current frame) or an array of 8-bit RGB values as ``Shown``; see ``check_pixels`` for arrays.

    Raises FinstError, which calls it ``name``, for what cannot be shown and for anything else.
    """
    if not isinstance(image, Image.Image):
        return Shown(check_pixels(image, name))
    with _refused(f"{name} cannot be shown") as warned:
        _check_size(image)
        shown = to_rgb(image)
    return replace(shown, notes=(*shown.notes, *_warnings(warned)))


def check_pixels(array: Any, name: str = "the picture") -> UInt8[np.ndarray, "height width 3"]:
    """The array itself, if it is 8-bit RGB [height, width, 3] with at least one pixel.

    Numbers of other types have no known range, so nothing else is guessed: raises FinstError, with the way to convert
    what looks like a picture of another kind.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise FinstError(f"{name} is a masked array: expected a plain one, 8-bit RGB (uint8, height, width, 3)")
    try:
        values = np.asarray(array)
    except (ValueError, TypeError, RuntimeError) as cause:
        raise FinstError(f"{name} is a {type(array).__name__} that is no array: expected {_EXPECTED}") from cause
    if values.dtype != np.uint8 or values.ndim != 3 or values.shape[2] != 3 or 0 in values.shape:
        raise FinstError(
            f"{name} is an array of {values.dtype} with shape {values.shape}{_kind(array)}: expected {_EXPECTED}"
            f"{_conversion(values)}"
        )
    return values


_EXPECTED = "8-bit RGB values (uint8) with shape (height, width, 3), or a PIL image"


def _kind(array: Any) -> str:
    return "" if isinstance(array, np.ndarray) else f" (a {type(array).__name__})"


def _conversion(values: np.ndarray) -> str:
    """How to make 8-bit RGB of an array, where that can be known."""
    floats, numbers = values.dtype.kind == "f", values.dtype.kind in "fiub"
    if not numbers or 0 in values.shape or values.ndim not in (2, 3):
        return ""
    if floats and not np.isfinite(values).all():
        return "; it holds values that are not finite"
    if values.dtype != np.uint8:
        low, high = values.min(), values.max()
        between = f"; its values lie between {low:g} and {high:g}" if values.dtype.kind != "b" else ""
        if floats and low >= 0 and high <= 1:
            return f"{between}: np.rint(255 * image).astype(np.uint8) makes 8 bits of 0 to 1"
        if values.dtype == np.uint16:
            return f"{between}: (image // 257).astype(np.uint8) makes 8 bits of 16"
        if values.dtype.kind == "b":
            return "; 255 * image.astype(np.uint8) makes 8 bits of False and True"
        if low >= 0 and high <= 255 and values.dtype.kind in "iu":
            return f"{between}: image.astype(np.uint8) makes 8 bits of them"
        return between
    if values.ndim == 3 and values.shape[0] in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
        return "; image.transpose(1, 2, 0) puts channels last"
    return "; PIL.Image.fromarray makes a PIL image of grey (height, width) and of RGB with alpha"


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """The file as a PIL image whose pixels are not read yet."""
    if not file.is_file():
        lost = "the file that it links to is gone" if file.is_symlink() else "it is no file" * file.exists()
        raise FinstError(lost or "there is no such file")
    if not file.stat().st_size:
        raise FinstError("the file is empty")
    Image.init()
    # Given a path, Pillow maps uncompressed TIFF files into memory, and mixes rows up where they are to be turned.
    with file.open("rb") as opened:
        is_png = opened.read(len(_PNG)) == _PNG
        formats = ["PNG"] if is_png else [name for name in FORMATS if name in Image.OPEN]
        if is_png:
            _check_sums(opened)
        with Image.open(opened, formats=formats) as image:
            _check_size(image)
            yield image


def _check_sums(png: IO[bytes]) -> None:
    """Compares a PNG file's checksums, which Pillow does not do as it reads pixels."""
    with Image.open(png, formats=["PNG"]) as image:
        image.verify()


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if not width * height:
        raise FinstError(f"it has {width}x{height} px: expected at least one pixel")
    if width * height > MOST_PX:
        raise FinstError(f"it has {width}x{height} px: expected at most {MOST_PX} px in all; make it smaller first")


@contextmanager
def _refused(what: str) -> Iterator[list[warnings.WarningMessage]]:
    """Turns whatever Pillow raises for a file or an image into one FinstError that begins with ``what``.

    Gives the list of Pillow's warnings.
    Damaged files make Pillow raise nearly any exception, so all are caught here, and nothing else runs inside.
    """
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield warned
    except FinstError as cause:
        raise FinstError(f"{what}: {cause}") from cause
    except UnidentifiedImageError as cause:
        raise FinstError(f"{what}: it is in no format that is read; expected {', '.join(FORMATS)}") from cause
    except Image.DecompressionBombError as cause:
        raise FinstError(f"{what}: it has too many px; expected at most {MOST_PX}") from cause
    except Exception as cause:
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else f"it is damaged ({cause})"
        raise FinstError(f"{what}: {reason}; expected a whole file") from cause


def _warnings(warned: list[warnings.WarningMessage]) -> tuple[str, ...]:
    """What Pillow doubts about a file that it has read, such as its EXIF data."""
    doubts = [str(one.message).strip() for one in warned if not issubclass(one.category, _HARMLESS)]
    return tuple(f"Pillow warns: {' '.join(doubt.split())}" for doubt in dict.fromkeys(doubts))


def smaller(shown: Shown, px: int) -> Shown:
    """The picture shrunk until its longer side has ``px`` px, with its aspect ratio kept; never enlarged."""
    image = Image.fromarray(shown.pixels)
    image.thumbnail((px, px), Image.Resampling.LANCZOS)
    return replace(shown, pixels=np.array(image, dtype=np.uint8))
