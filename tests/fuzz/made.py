"""Pictures with known pixels: every mode, format and flag, and what a person sees, by float arithmetic of its own."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

FORMATS: Mapping[str, tuple[str, ...]] = {
    "": ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("1", "L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "PPM": ("1", "L", "RGB", "I;16"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "I;16"),
}
"""Modes that a format keeps without loss; the empty format is a PIL image in memory."""

REFUSED = ("I", "F")
"""Modes whose range is not known."""

TURNED: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda a: a,
    lambda a: a[:, ::-1],
    lambda a: a[::-1, ::-1],
    lambda a: a[::-1],
    lambda a: a.swapaxes(0, 1),
    lambda a: np.rot90(a, -1),
    lambda a: np.rot90(a.swapaxes(0, 1), 2),
    lambda a: np.rot90(a, 1),
)
"""What a person sees of stored pixels, by EXIF orientation 1 to 8."""

ORIENTED = ("", "PNG", "TIFF", "WEBP")
"""Formats that are saved with an orientation here."""

KEYED = {"": ("1", "L", "RGB", "P"), "PNG": ("1", "L", "RGB", "P"), "GIF": ("P",)}
"""Modes in which one number or colour may stand for transparent."""


@dataclass(frozen=True, eq=False)
class Made:
    """An image, its file, and what is seen."""

    image: Image.Image
    content: bytes
    """Empty for an image in memory."""
    seen: np.ndarray | None
    """Values from 0 to 255 [height, width, 3], not rounded; None for a picture that must be refused."""
    within: float
    """How far 8-bit pixels may lie from ``seen``."""


def made(rng: np.random.Generator, form: str, mode: str, orientation: int = 1, keyed: bool = False) -> Made:
    """One picture of random size and pixels."""
    height, width = (int(n) for n in rng.integers(1, 9, 2))
    image, rgb, alpha, within = _image(rng, mode, (height, width))
    saved: dict[str, Any] = {}
    if keyed and mode in KEYED.get(form, ()):
        key, alpha = _key(rng, image, form != "GIF")
        within = max(within, 0.51)
        image.info["transparency"] = key
        saved["transparency"] = key
    if orientation > 1 and form in ORIENTED:
        exif = Image.Exif()
        exif[0x0112] = orientation
        saved["exif"] = exif.tobytes() if form else None
        image.getexif()[0x0112] = orientation
    else:
        orientation = 1
    opaque = np.ones((height, width)) if alpha is None else alpha / 255
    seen = TURNED[orientation - 1](rgb * opaque[..., None] + 255 * (1 - opaque[..., None]))
    content = _saved(image, form, saved) if form else b""
    return Made(image, content, None if mode in REFUSED else seen, within)


def _saved(image: Image.Image, form: str, saved: dict[str, Any]) -> bytes:
    lossless = {"WEBP": {"lossless": True, "exact": True}, "JPEG2000": {"irreversible": False}}
    buffer = io.BytesIO()
    image.save(buffer, form, **saved, **lossless.get(form, {}))
    return buffer.getvalue()


def _bytes(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Random bytes, among them many 0 and 255."""
    values = rng.integers(0, 256, size)
    return np.where(rng.random(size) < 0.3, rng.choice([0, 255], size), values).astype(np.uint8)


def _image(
    rng: np.random.Generator, mode: str, size: tuple[int, int]
) -> tuple[Image.Image, np.ndarray, np.ndarray | None, float]:
    """An image, its colours (0 to 255), its alpha (0 to 255; None: opaque), and the tolerance of the conversion."""
    if mode == "1":
        bits = rng.random(size) < 0.5
        return Image.fromarray(bits), _grey(255.0 * bits), None, 0
    if mode in ("I;16", "I", "F"):
        values = rng.integers(0, 65536, size)
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray(values.astype(dtype)), _grey(values / 65535 * 255), None, 0.51
    if mode in ("P", "PA"):
        return _palette(rng, mode, size)
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = _bytes(rng, (*size, bands))
    if mode in ("La", "RGBa"):
        values[..., :-1] = np.minimum(values[..., :-1], values[..., -1:])
    image = Image.frombytes(mode, (size[1], size[0]), values.tobytes())
    floats = values.astype(float)
    if mode in ("LA", "RGBA"):
        return image, _grey(floats[..., :-1]), floats[..., -1], 0.51
    if mode in ("La", "RGBa"):
        return image, _grey(floats[..., :-1] + 255 - floats[..., -1:]), None, 1.51
    if mode == "CMYK":
        return image, (255 - floats[..., :3]) * (255 - floats[..., 3:]) / 255, None, 1
    if mode == "YCbCr":
        return image, _ycbcr(floats), None, 2
    if mode == "HSV":
        return image, np.apply_along_axis(lambda c: np.array(colorsys.hsv_to_rgb(*c / 255)) * 255, 2, floats), None, 3
    return image, _grey(floats[..., :3]), None, 0


def _grey(values: np.ndarray) -> np.ndarray:
    """Three equal channels of one."""
    whole = values if values.ndim == 3 else values[..., None]
    return np.broadcast_to(whole, (*whole.shape[:2], 3)).astype(float)


def _ycbcr(values: np.ndarray) -> np.ndarray:
    """JFIF's definition."""
    y, cb, cr = (values[..., band] - 128 * (band > 0) for band in range(3))
    return np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2).clip(0, 255)


def _palette(
    rng: np.random.Generator, mode: str, size: tuple[int, int]
) -> tuple[Image.Image, np.ndarray, np.ndarray | None, float]:
    colours = _bytes(rng, (int(rng.choice([2, 5, 256])), 3))
    indices = rng.integers(0, len(colours), size).astype(np.uint8)
    image = Image.fromarray(indices, "L")
    image.putpalette(colours.tobytes())
    rgb = colours[indices].astype(float)
    if mode == "P":
        return image, rgb, None, 0
    alpha = _bytes(rng, size)
    image = image.convert("PA")
    image.putalpha(Image.fromarray(alpha, "L"))
    return image, rgb, alpha.astype(float), 0.51


def _key(rng: np.random.Generator, image: Image.Image, shares: bool) -> tuple[Any, np.ndarray]:
    """What stands for transparent, and the alpha that it makes."""
    values = np.asarray(image)
    key = values[rng.integers(len(values)), rng.integers(values.shape[1])]
    if image.mode == "RGB":
        return tuple(int(v) for v in key), np.where((values == key).all(axis=2), 0.0, 255.0)
    if image.mode == "P" and shares and rng.random() < 0.5:
        alphas = _bytes(rng, (256,))
        return alphas.tobytes(), alphas[values].astype(float)
    number = 255 * int(key) if image.mode == "1" else int(key)
    return number, np.where(values == key, 0.0, 255.0)
