"""Every mode, format, orientation and kind of transparency against float arithmetic; depth, profiles, animations."""

from __future__ import annotations

import io

import numpy as np
import pytest
import skimage.color
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin

from finst.errors import FinstError
from finst.scenes.read_picture import read_image
from finst.scenes.to_rgb import to_rgb
from tests.fuzz.made import FORMATS, REFUSED, made

KINDS = [(form, mode) for form, modes in FORMATS.items() for mode in modes]
RAMP = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(64, 0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

D50_TO_D65 = np.array(
    [[0.9555766, -0.0230393, 0.0631636], [-0.0282895, 1.0099416, 0.0210077], [0.0122982, -0.0204830, 1.3299098]]
)
"""Bradford's adaptation from LAB's white to that of sRGB."""


def reopened(image: Image.Image, form: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)  # pyright: ignore[reportArgumentType]
    return Image.open(buffer)


@settings(max_examples=300)
@given(st.sampled_from(KINDS), st.integers(1, 8), st.booleans(), st.integers(0, 2**32 - 1))
def test_all_modes_formats_and_flags_show_what_a_person_sees(
    kind: tuple[str, str], orientation: int, keyed: bool, seed: int
) -> None:
    one = made(np.random.default_rng(seed), *kind, orientation, keyed)
    image = Image.open(io.BytesIO(one.content)) if one.content else one.image
    if one.seen is None:
        with pytest.raises(FinstError, match=r"mode [IF]\b.*are not known: expected 8 or 16 bits"):
            read_image(image)
        return
    pixels = read_image(image).pixels
    assert pixels.dtype == np.uint8
    assert pixels.shape == one.seen.shape
    assert np.abs(pixels - one.seen).max() <= one.within + 1e-9


def test_the_refused_modes_are_those_without_a_known_range() -> None:
    assert REFUSED == ("I", "F")


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_depth_16_bits_are_scaled_to_8(form: str) -> None:
    pixels = to_rgb(reopened(Image.fromarray(RAMP), form)).pixels
    assert np.array_equal(pixels[0, :, 0], np.arange(256))


@pytest.mark.parametrize("values", [RAMP.astype(np.float32), (RAMP / 65535).astype(np.float32), RAMP.astype(np.int32)])
def test_depth_of_32_bits_is_refused_by_name(values: np.ndarray) -> None:
    with pytest.raises(FinstError, match=r"mode [IF] \(32-bit .*expected 8 or 16 bits"):
        to_rgb(reopened(Image.fromarray(values), "TIFF"))


def test_depth_of_12_bits_and_white_as_the_smallest_number_are_as_the_file_says() -> None:
    ramp = np.arange(0, 65536, 257, dtype=np.uint16)[None]
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[262] = 0
    inverted = reopened(Image.fromarray(ramp), "TIFF", tiffinfo=info)
    assert isinstance(inverted, TiffImagePlugin.TiffImageFile)
    if inverted.tag_v2[262] == 0:
        assert np.array_equal(to_rgb(inverted).pixels[0, :, 0], np.arange(256)[::-1])
    twelve = reopened(Image.fromarray(ramp), "TIFF")
    assert isinstance(twelve, TiffImagePlugin.TiffImageFile)
    twelve.load()
    twelve.im = Image.fromarray((ramp >> 4).astype(np.uint16)).im
    twelve.tag_v2[258] = (12,)
    assert np.array_equal(to_rgb(twelve).pixels[0, :, 0], np.arange(256))


def png(depth: int, colour: int, rows: bytes, transparent: bytes, width: int) -> bytes:
    """A PNG file of one row, of bit depths that Pillow does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    body = chunk(b"tRNS", transparent) + chunk(b"IDAT", zlib.compress(b"\0" + rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(("depth", "row", "values"), [(2, b"\x1b", [0, 85, 170, 255]), (4, b"\x07", [0, 119])])
def test_transparency_of_grey_with_few_bits_is_found(depth: int, row: bytes, values: list[int]) -> None:
    key = values[1] * (2**depth - 1) // 255
    image = Image.open(io.BytesIO(png(depth, 0, row, bytes([0, key]), len(values))))
    expected = [255 if value == values[1] else value for value in values]
    assert to_rgb(image).pixels[0, :, 0].tolist() == expected


def test_transparency_of_16_bit_grey_and_colours() -> None:
    grey = Image.open(io.BytesIO(png(16, 0, b"\x01\x02\x01\x03", b"\x01\x02", 2)))
    assert to_rgb(grey).pixels[0, :, 0].tolist() == [255, 1]
    colours = Image.open(io.BytesIO(png(16, 2, b"\x01\x02" * 3 + b"\x01\x03" * 3, b"\x01\x02" * 3, 2)))
    with pytest.raises(FinstError, match=r"16-bit colours is transparent.*expected an alpha channel"):
        to_rgb(colours)


def test_transparency_is_said() -> None:
    hidden = np.zeros((64, 64, 4), np.uint8)
    hidden[16:48, 16:48] = (0, 0, 0, 255)
    shown = to_rgb(Image.fromarray(hidden))
    assert shown.notes == ("transparent parts are white",)
    assert shown.pixels[0, 0].tolist() == [255] * 3
    assert shown.pixels[30, 30].tolist() == [0] * 3
    hidden[..., 3] = 255
    assert to_rgb(Image.fromarray(hidden)).notes == ()


def test_lab_is_seen_as_an_independent_conversion_sees_it() -> None:
    soft = np.random.default_rng(0).integers(60, 200, (6, 7, 3)).astype(np.uint8)
    lab = ImageCms.profileToProfile(
        Image.fromarray(soft), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    values = np.asarray(lab).astype(float)
    values = np.stack([values[..., 0] / 2.55, *(((values[..., band] + 128) % 256) - 128 for band in (1, 2))], axis=2)
    expected = skimage.color.xyz2rgb(skimage.color.lab2xyz(values, illuminant="D50") @ D50_TO_D65.T) * 255
    assert np.abs(to_rgb(lab).pixels - expected).max() < 4
    assert np.abs(to_rgb(lab).pixels - soft.astype(float)).max() < 8


def swapped() -> bytes:
    """sRGB's profile with red's and green's places exchanged in its table of tags."""
    data = bytearray(SRGB)
    places = {}
    for index in range(int.from_bytes(data[128:132], "big")):
        start = 132 + 12 * index
        places[bytes(data[start : start + 4])] = start
    red, green = places[b"rXYZ"] + 4, places[b"gXYZ"] + 4
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    return bytes(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_profiles_are_converted_to_srgb_and_said(mode: str) -> None:
    image = reopened(Image.new("RGB", (3, 2), (200, 10, 10)).convert(mode), "PNG", icc_profile=swapped())
    shown = to_rgb(image)
    assert np.abs(shown.pixels.astype(int) - (10, 200, 10)).max() <= 12
    assert shown.notes == ("colours are converted from its colour profile to sRGB",)


def test_a_profile_that_changes_nothing_changes_no_pixel() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 8, 3)).astype(np.uint8)
    shown = to_rgb(reopened(Image.fromarray(noise), "PNG", icc_profile=SRGB))
    assert np.array_equal(shown.pixels, noise)
    assert shown.notes == ()


@pytest.mark.parametrize(("mode", "profile"), [("RGB", b"no profile"), ("L", SRGB), ("CMYK", SRGB)])
def test_profiles_that_do_not_fit_are_said(mode: str, profile: bytes) -> None:
    shown = to_rgb(reopened(Image.new(mode, (3, 2)), "TIFF", icc_profile=profile))
    assert shown.notes == ("its colour profile does not fit and is not used",)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_shown_and_said(form: str) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    options = {"lossless": True} if form == "WEBP" else {}
    image = reopened(frames[0], form, save_all=True, append_images=frames[1:], **options)
    shown = to_rgb(image)
    assert shown.notes == ("frame 1 of 3",)
    assert shown.pixels[0, 0].tolist() == [255, 0, 0]
    image.seek(1)
    assert to_rgb(image).notes == ("frame 2 of 3",)
    assert to_rgb(image).pixels[0, 0].tolist() == [0, 0, 255]
