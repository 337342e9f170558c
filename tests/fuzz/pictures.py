"""A seeded fuzzer of pictures: files, folders, arrays, masks and annotations, whole and damaged.

Every case is right or refused with a FinstError: anything else is an AssertionError.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finst.errors import FinstError
from finst.experiments.interventions.shown_pictures import lines_of, sifted
from finst.scenes.coco_annotations import read_categories
from finst.scenes.draw import draw
from finst.scenes.fit import fitting_masks
from finst.scenes.object import Grid, on_grid
from finst.scenes.own import picture
from finst.scenes.photos import read_photos
from finst.scenes.read_picture import read_file, read_image
from finst.scenes.renders.folder import read_sided
from tests.fuzz.made import FORMATS, TURNED, Made, made

ENDINGS = {"PNG": "png", "TIFF": "tif", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "PPM": "ppm", "JPEG2000": "jp2"}

CHECKED = ("PNG",)
"""Formats with checksums: a changed byte cannot go unnoticed."""

LOSSY = ("JPEG", "AVIF", "MPO")
"""Formats whose pixels are known only roughly."""

Rng = np.random.Generator


def case(seed: int) -> str:
    """Makes one input, reads it, and says how it ended; AssertionError for a wrong result or another exception."""
    rng = np.random.default_rng(seed)
    kinds: tuple[Callable[[Rng, Path], str], ...] = (
        _whole,
        _whole,
        _damaged,
        _damaged,
        _lossy,
        _photographs,
        _renders,
        _array,
        _masks,
        _annotations,
    )
    kind = kinds[seed % len(kinds)]
    with tempfile.TemporaryDirectory() as folder, _only_finst_errors(f"case {seed}, {kind.__name__}"):
        return f"{kind.__name__[1:]}: {kind(rng, Path(folder))}"


@contextmanager
def _only_finst_errors(what: str) -> Iterator[None]:
    try:
        yield
    except AssertionError as wrong:
        raise AssertionError(f"{what}: {wrong}") from wrong
    except Exception as cause:
        raise AssertionError(f"{what}: {cause!r}") from cause


def _refused(read: Callable[[], Any]) -> Any:
    """The result, or None for a refusal."""
    try:
        return read()
    except FinstError:
        return None


def _any(rng: Rng, forms: tuple[str, ...] = tuple(FORMATS)) -> tuple[Made, str]:
    form = str(rng.choice(forms))
    mode = str(rng.choice(FORMATS[form]))
    return made(rng, form, mode, int(rng.integers(1, 9)), bool(rng.random() < 0.5)), form


def _assert_seen(pixels: np.ndarray, one: Made) -> None:
    assert one.seen is not None
    assert pixels.shape == one.seen.shape, (pixels.shape, one.seen.shape)
    assert np.abs(pixels - one.seen).max() <= one.within + 1e-9, (one.image.mode, pixels, one.seen)


def _whole(rng: Rng, folder: Path) -> str:
    one, form = _any(rng)
    if form:
        file = folder / f"a.{ENDINGS[form]}"
        file.write_bytes(one.content)
        found = _refused(lambda: read_file(file).pixels)
    else:
        found = _refused(lambda: picture(one.image).image)
    assert (found is None) == (one.seen is None), (form, one.image.mode, found)
    if found is None:
        return "refused"
    _assert_seen(found, one)
    return "read"


def _broken(rng: Rng, content: bytes) -> tuple[bytes, str]:
    """Bytes flipped, cut, put in, or all junk."""
    way = str(rng.choice(["flipped", "cut", "longer", "junk"]))
    data = bytearray(content)
    if way == "flipped":
        for place in rng.integers(0, len(data), int(rng.integers(1, 4))):
            data[place] ^= int(rng.integers(1, 256))
    elif way == "cut":
        del data[int(rng.integers(0, len(data))) :]
    elif way == "longer":
        place = int(rng.integers(0, len(data)))
        data[place:place] = rng.bytes(int(rng.integers(1, 30)))
    else:
        data = bytearray(rng.bytes(int(rng.integers(0, 200))))
    return bytes(data), way


def _damaged(rng: Rng, folder: Path) -> str:
    one, form = _any(rng, tuple(ENDINGS))
    file = folder / f"a.{ENDINGS[form]}"
    content, way = _broken(rng, one.content)
    file.write_bytes(content)
    found = _refused(lambda: read_file(file).pixels)
    if found is None:
        return f"{way}, refused"
    assert found.dtype == np.uint8
    assert found.ndim == 3
    if way == "cut" or form in CHECKED:
        _assert_seen(found, one)
    return f"{way}, read"


def _lossy(rng: Rng, folder: Path) -> str:
    """Smooth pictures in formats that lose detail, whole or damaged."""
    form = str(rng.choice(LOSSY))
    ramp = np.linspace(20, 230, 32)[None, :, None] * np.array([1, 0.7, 0.4])
    pixels = np.broadcast_to(ramp, (24, 32, 3)).round().astype(np.uint8)
    exif = Image.Exif()
    orientation = int(rng.integers(1, 9)) if form == "JPEG" else 1
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    more: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (32, 24))]} if form == "MPO" else {}
    Image.fromarray(pixels).save(buffer, form, quality=95, exif=exif, **more)
    whole, way = buffer.getvalue(), "whole"
    if rng.random() < 0.6:
        content, way = _broken(rng, whole)
    else:
        content = whole
    file = folder / "a.jpg"
    file.write_bytes(content)
    found = _refused(lambda: read_file(file).pixels)
    assert found is not None or way != "whole"
    if found is None:
        return f"{way}, refused"
    if way in ("whole", "cut"):
        expected = TURNED[orientation - 1](pixels)
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() < 40, np.abs(found.astype(int) - expected).max()
    return f"{way}, read"


def _files(rng: Rng, folder: Path, names: list[str]) -> dict[str, Made | None]:
    """Files of these names without their ending: whole ones with what is seen, damaged ones, and copies."""
    files: dict[str, Made | None] = {}
    for name in names:
        one, form = _any(rng, tuple(ENDINGS))
        ending = ENDINGS[form].upper() if rng.random() < 0.3 else ENDINGS[form]
        content, kept = one.content, one if one.seen is not None else None
        if rng.random() < 0.25:
            content, kept = content[: int(rng.integers(0, min(20, len(content))))], None
        path = folder / f"{name}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files[f"{name}.{ending}"] = kept
    return files


def _sifted(pictures: Any, files: dict[str, Made | None]) -> str:
    """Whether all that is whole is shown, once, and the rest is named."""
    found = list(sifted(pictures, lambda _: None))
    whole = [one for one in files.values() if one is not None]
    for one in found:
        expected = next(value for name, value in files.items() if one.name in (name, name.rpartition(".")[0]))
        assert (one.reason == "unreadable") == (expected is None), (one.name, one.reason, one.fault)
        if one.picture is not None:
            assert expected is not None
            _assert_seen(one.picture.image, expected)
    shown = [one.picture.image.tobytes() + str(one.picture.image.shape).encode() for one in found if one.picture]
    assert len(shown) == len({*shown})
    assert len(shown) + sum(one.reason == "copy" for one in found) == len(whole)
    said = "; ".join(lines_of(found))
    assert all(one.name in said for one in found if one.reason)
    return f"{len(shown)} of {len(found)} shown"


def _photographs(rng: Rng, folder: Path) -> str:
    names = [f"{'deep/' * int(rng.integers(0, 3))}{index}" for index in range(int(rng.integers(1, 6)))]
    files = _files(rng, folder / "in", names)
    linked = _files(rng, folder / "out", ["x"])
    (folder / "in" / "linked").symlink_to(folder / "out")
    (folder / "in" / "loop").symlink_to(folder / "in")
    (folder / "in" / ".hidden.png").write_bytes(b"x")
    files |= {f"linked/{name}": one for name, one in linked.items()}
    photos = read_photos(folder / "in", 448)
    assert {photo.name for photo in photos} == {*files}
    return _sifted(photos, files)


def _width(one: Made | None) -> int:
    return 0 if one is None or one.seen is None else one.seen.shape[1]


def _renders(rng: Rng, folder: Path) -> str:
    colours, kinds = ["red", "green", "white"], ["camel", "dolphin", "polar-bear"]
    names = []
    for index in range(int(rng.integers(1, 5))):
        left, right = (str(colour) for colour in rng.permutation(colours)[:2])
        first, second = (str(kind) for kind in rng.choice(kinds, 2))
        names.append(
            f"pug_{left}_{first}_{right}_{second}_salt_desert_{index}"
            if rng.random() < 0.5
            else f"salt-desert_{left}-{first}_{right}-{second}_{index}"
        )
    files = _files(rng, folder, names)
    found = read_sided(folder)
    assert {one.name for one in found} == {*names}
    assert {one.environment for one in found} == {"salt desert"}
    for one in found:
        left, right = one.things
        words = (*left, *right)
        assert all(word.replace(" ", "-") in one.name for word in words)
    # A picture of one column has no left half.
    return _sifted(found, {name: one if _width(one) > 1 else None for name, one in files.items()})


def _array(rng: Rng, folder: Path) -> str:
    dtype = str(rng.choice(["u1", "u1", "i2", "u2", "f4", "f8", "?", "c8", "O"]))
    shape = tuple(int(n) for n in rng.choice([0, 1, 2, 3, 4, 7], int(rng.integers(0, 5))))
    if rng.random() < 0.3:
        shape = (int(rng.integers(1, 9)), int(rng.integers(1, 9)), 3)
    values = np.asarray(rng.random(shape) * rng.choice([1, 255, 70000])).astype(dtype)
    if np.issubdtype(values.dtype, np.floating) and values.size and rng.random() < 0.3:
        values.flat[0] = rng.choice([np.nan, np.inf, -np.inf])
    found = _refused(lambda: read_image(values))
    right = values.dtype == np.uint8 and values.ndim == 3 and values.shape[2] == 3 and values.size > 0
    assert (found is not None) == right, (values.dtype, values.shape)
    return "read" if right else "refused"


def _masks(rng: Rng, folder: Path) -> str:
    shown = draw(on_grid([("red", "circle"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2)))
    masks = shown.masks.astype(str(rng.choice(["?", "u1", "f4", "i8"])))
    change = str(rng.choice(["none", "empty", "order", "value", "size", "count", "twice", "outside"]))
    if change == "empty":
        masks[int(rng.integers(2))] = 0
    elif change == "order":
        masks = masks[::-1]
    elif change == "value" and masks.dtype != bool:
        masks = masks * 2
    elif change == "size":
        masks = masks[:, : -int(rng.integers(1, 9))]
    elif change == "count":
        masks = masks[:1]
    elif change == "twice":
        masks[1] = masks[0]
    elif change == "outside":
        masks[0, int(rng.integers(120, 280)), int(rng.integers(0, 280))] = 1
    right = change == "none" or (change == "value" and masks.dtype == bool)
    found = _refused(lambda: fitting_masks(shown.scene, shown.image, masks))
    assert (found is not None) == right, change
    assert found is None or np.array_equal(found, shown.masks)
    return change


def _annotations(rng: Rng, folder: Path) -> str:
    data: Any = {
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "b.png"}],
        "annotations": [{"image_id": 7, "category_id": 1}, {"image_id": 8, "category_id": 2}],
    }
    junk = [None, [], {}, "x", -1, 1.5, True, float("nan"), 10**400, [[]]]
    if rng.random() < 0.7:
        holder, key = data, str(rng.choice([*data]))
        if rng.random() < 0.7:
            holder, key = data[key], int(rng.integers(2))
            if rng.random() < 0.7:
                holder = holder[key]
                key = str(rng.choice([*holder]))
        holder[key] = junk[int(rng.integers(len(junk)))]
    content = json.dumps(data).encode()
    if rng.random() < 0.3:
        content, _ = _broken(rng, content)
    file = folder / "x.json"
    file.write_bytes(content)
    found = _refused(lambda: read_categories(file))
    if found is None:
        return "refused"
    assert all(isinstance(name, str) for name in found)
    assert all(isinstance(word, str) for words in found.values() for word in words)
    return "read"
