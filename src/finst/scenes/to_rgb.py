"""Any PIL image as 8-bit RGB, as a person sees it: upright, in sRGB, on white."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageCms, ImageOps

from finst.errors import FinstError

Parts = tuple[Image.Image, UInt8[np.ndarray, "height width"] | None]
"""The colours (mode L, RGB, CMYK or LAB, 8 bits a channel), and how opaque each pixel is; None for a whole picture."""

NOTICEABLE = 2
"""A colour profile that moves no colour by more than so many of 255 levels is that of sRGB, but for rounding."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _MIN_IS_WHITE = 258, 262, 0
"""Tags of TIFF files."""


@dataclass(frozen=True, eq=False)
class Shown:
    """Pixels as a model is shown them."""

    pixels: UInt8[np.ndarray, "height width 3"]
    notes: tuple[str, ...] = ()
    """What a person who knows the file would want to know, such as ``frame 1 of 12``."""


def to_rgb(image: Image.Image) -> Shown:
    """The current frame of an image, turned by its EXIF orientation, in 8-bit sRGB on white.

    16-bit grey is divided by 257; colours are converted from an embedded colour profile (perceptual intent); what is
    transparent, by an alpha channel, a palette or a colour that stands for it, is composited on white. Raises
    FinstError for modes whose range is not known (32-bit whole numbers and floats), for modes without a known meaning,
    and for 16-bit colours of which one is transparent. Pillow's exceptions for damaged data pass through.
    """
    raw = _raw_mode(image)
    upright = ImageOps.exif_transpose(image)
    colours, alpha = _parts(upright, image, raw)
    flat, notes = _in_srgb(colours, upright.info.get("icc_profile"))
    pixels = np.asarray(flat)
    if alpha is not None and alpha.min() < 255:
        pixels, notes = on_white(pixels, alpha), (*notes, "transparent parts are white")
    return Shown(np.ascontiguousarray(pixels), (*_frame(image), *notes))


def on_white(
    pixels: UInt8[np.ndarray, "height width 3"], alpha: UInt8[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Composites colours on white; ``alpha`` is 0 where nothing is seen of them and 255 where nothing else is."""
    opaque = alpha[..., None].astype(np.uint32)
    return ((pixels * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)


def _frame(image: Any) -> tuple[str, ...]:
    """Which frame of an animation, or page of a document, is shown."""
    if not getattr(image, "is_animated", False):
        return ()
    return (f"frame {image.tell() + 1} of {image.n_frames}",)


def _raw_mode(image: Any) -> str:
    """How a file holds its pixels, as Pillow names it; empty for an image that is loaded already."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _parts(image: Image.Image, original: Any, raw: str) -> Parts:
    if image.mode.startswith("I;16") or (image.mode == "I" and original.format in ("PNG", "PPM")):
        return _sixteen_bits(image, original)
    if image.mode not in _SPLIT:
        raise FinstError(
            f"it has the mode {image.mode}{_MEANING.get(image.mode, '')}: expected 8 or 16 bits a channel, as grey, "
            "RGB, CMYK, YCbCr, LAB, HSV or with a palette; scale it to 0 to 255 first"
        )
    return _SPLIT[image.mode](image, raw)


_MEANING: Mapping[str, str] = MappingProxyType(
    {
        "I": " (32-bit whole numbers), whose darkest and brightest value are not known",
        "F": " (32-bit floats), whose darkest and brightest value are not known",
    }
)


def _sixteen_bits(image: Image.Image, original: Any) -> Parts:
    """Grey of up to 16 bits; TIFF files say how many, and whether the largest number is white or black."""
    tags = getattr(original, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, 16)
    top = 2 ** int(bits[0] if isinstance(bits, tuple) else bits) - 1
    values = np.asarray(image).astype(np.int64)
    grey = ((values * 255 + top // 2) // top).clip(0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE:
        grey = 255 - grey
    return Image.fromarray(grey), _opaque_but(values, image.info.get("transparency"))


def _grey(image: Image.Image, raw: str) -> Parts:
    grey = image.convert("L")
    key = image.info.get("transparency")
    if key is not None:
        # Pillow scales pixels of 2 and 4 bits to 0 to 255, and leaves the number that stands for transparent as it is.
        key = int(key) * {"L;2": 85, "L;4": 17}.get(raw, 1)
    return grey, _opaque_but(np.asarray(grey).astype(np.int64), key)


def _rgb(image: Image.Image, raw: str) -> Parts:
    key = image.info.get("transparency")
    if key is not None and "16" in raw:
        raise FinstError(
            "one of its 16-bit colours is transparent, and others look the same in 8 bits: expected an alpha channel"
        )
    return image, None if key is None else _opaque_but(np.asarray(image).astype(np.int64), key)


def _opaque_but(
    values: Integer[np.ndarray, "height width *channel"], key: Any
) -> UInt8[np.ndarray, "height width"] | None:
    """Opaque everywhere, except where the pixel has the number or colour that stands for transparent."""
    if key is None:
        return None
    same = values == np.asarray(key)
    hidden = same if same.ndim == 2 else same.all(axis=2)
    return np.where(hidden, 0, 255).astype(np.uint8)


def _palette(image: Image.Image, raw: str) -> Parts:
    return _with_alpha(image.convert("RGBA"), raw)


def _with_alpha(image: Image.Image, raw: str) -> Parts:
    return image.convert(image.mode[:-1]), np.asarray(image.getchannel("A"))


def _premultiplied(image: Image.Image, raw: str) -> Parts:
    return _with_alpha(image.convert(image.mode.upper()), raw)


def _converted(image: Image.Image, raw: str) -> Parts:
    return image.convert("RGB"), None


def _as_it_is(image: Image.Image, raw: str) -> Parts:
    return image, None


_SPLIT: Mapping[str, Callable[[Image.Image, str], Parts]] = MappingProxyType(
    {
        **dict.fromkeys(("1", "L"), _grey),
        "RGB": _rgb,
        **dict.fromkeys(("P", "PA"), _palette),
        **dict.fromkeys(("LA", "RGBA"), _with_alpha),
        **dict.fromkeys(("La", "RGBa"), _premultiplied),
        **dict.fromkeys(("RGBX", "YCbCr", "HSV"), _converted),
        **dict.fromkeys(("CMYK", "LAB"), _as_it_is),
    }
)
"""By mode; ``I;16`` and its kin are apart."""

_SPACES: Mapping[str, str] = MappingProxyType({"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"})
"""The colour space of the profiles that fit each mode, as they name it."""


def _in_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in sRGB, and a note where its colour profile changed colours or could not be used."""
    if image.mode == "LAB" and not profile:
        profile = _profile(ImageCms.createProfile("LAB"))
    if not profile:
        return image.convert("RGB"), ()
    try:
        transform = _transform(profile, image.mode)
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError):
        if image.mode == "LAB":
            return _in_srgb(image, None)
        return image.convert("RGB"), ("its colour profile does not fit and is not used",)
    if transform is None:
        return image.convert("RGB"), ()
    turned = ImageCms.applyTransform(image, transform)
    assert turned is not None
    return turned, () if image.mode == "LAB" else ("colours are converted from its colour profile to sRGB",)


def _profile(profile: Any) -> bytes:
    return ImageCms.ImageCmsProfile(profile).tobytes()


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from a profile to sRGB; None where it changes nothing that is noticeable.

    Raises ValueError for a profile of another colour space than the mode's, and Pillow's errors for a damaged one.
    """
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    described: Any = source.profile
    if described.xcolor_space.strip() != _SPACES[mode]:
        raise ValueError(f"a profile of {described.xcolor_space} for {mode}")
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode in ("CMYK", "LAB"):
        return transform
    lattice = _lattice(mode)
    moved = ImageCms.applyTransform(lattice, transform)
    assert moved is not None
    change = np.abs(np.asarray(moved).astype(int) - np.asarray(lattice.convert("RGB")).astype(int)).max()
    return transform if change > NOTICEABLE else None


def _lattice(mode: str) -> Image.Image:
    """All greys, or 17 levels of each colour."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, 17).round().astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(17, -1, 3))
