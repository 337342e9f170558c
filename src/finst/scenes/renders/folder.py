"""Folders of pictures of two things: those that ``finst render`` writes, and others with descriptive file names."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, UnidentifiedImageError

from finst.errors import FinstError
from finst.scenes.designs import Features
from finst.scenes.object import Box, Obj, Picture, Scene
from finst.scenes.side_by_side_pairs import SIDES

RECORD, MASKS = "renders.json", "masks"

NAMES = "{environment}_{leftcolour}-{leftkind}_{rightcolour}-{rightkind}_{n}.png"
"""Names of files: no underscore within a colour or kind and no hyphen within a colour; elsewhere hyphens stand for
spaces, and n is a number. The two colours differ. ``.jpg`` and ``.jpeg`` are read as well."""

_RULE = re.compile(r"(?P<place>.+)_(?P<lc>[^_-]+)-(?P<lk>[^_]+)_(?P<rc>[^_-]+)-(?P<rk>[^_]+)_(?P<n>\d+)")


@dataclass(frozen=True)
class FiledSided:
    """A picture file of two things. Without a mask file, each thing's mask is its half of the picture."""

    name: str
    environment: str
    things: tuple[Features, Features]
    file: Path
    mask_file: Path | None = None

    @property
    def place(self) -> str:
        """Empty: pictures of a folder are taken to show their things at one height."""
        return ""

    @property
    def exact_masks(self) -> bool:
        """Whether masks are the things' own pixels, rather than the left and the right half of the picture."""
        return self.mask_file is not None

    def picture(self) -> Picture:
        """Pixels, masks and boxes; boxes are tight around masks. Raises FinstError when a file is damaged."""
        image = pixels(self.file, "RGB")
        height, width = image.shape[:2]
        if self.mask_file is None:
            halves = np.broadcast_to(np.arange(width) < width // 2, (height, width))
            masks = np.stack([halves, ~halves])
        else:
            labels = pixels(self.mask_file, "L")
            if labels.shape != image.shape[:2]:
                raise FinstError(
                    f"{self.mask_file} has {labels.shape[1]}x{labels.shape[0]} px and its picture {width}x{height}: "
                    "expected a mask of the same size"
                )
            masks = np.stack([labels == 1, labels == 2])
        for side, mask in zip(SIDES, masks, strict=True):
            if not mask.any():
                raise FinstError(f"{self.mask_file or self.file} shows no {side} thing: expected one on each side")
        boxed = zip(self.things, masks, (0, 1), strict=True)
        objects = tuple(Obj(colour, kind, box(mask), (0, side)) for (colour, kind), mask, side in boxed)
        return Picture(Scene(width, height, objects), image, masks)


def read_sided(folder: Path | str) -> tuple[FiledSided, ...]:
    """The pictures of a folder that ``finst render`` wrote, or of a folder with file names by the rule ``NAMES``.

    Pixels are read later, one picture at a time. Raises FinstError for a folder that is missing, empty or not fully
    rendered, and for files whose names do not follow the rule.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FinstError(f"there is no folder {folder}: expected one that finst render wrote, or files named {NAMES}")
    return _recorded(folder) if (folder / RECORD).exists() else _named(folder)


def box(mask: Bool[np.ndarray, "height width"]) -> Box:
    """The tight box around a mask that is not empty."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1


def record(folder: Path) -> dict[str, Any]:
    """The record that ``finst render`` wrote into a folder. Raises FinstError when the file is damaged."""
    file = folder / RECORD
    try:
        content = json.loads(file.read_text())
        _ = [(entry["name"], entry["environment"], *_pair(entry["things"])) for entry in content["pictures"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FinstError(f"{file} is damaged ({error!r}): expected a file by finst render; render again") from error
    return content


def _recorded(folder: Path) -> tuple[FiledSided, ...]:
    pictures = tuple(
        FiledSided(
            entry["name"],
            entry["environment"],
            _pair(entry["things"]),
            folder / f"{entry['name']}.png",
            folder / MASKS / f"{entry['name']}.png",
        )
        for entry in record(folder)["pictures"]
    )
    missing = [
        picture.name
        for picture in pictures
        if not (picture.file.exists() and picture.mask_file and picture.mask_file.exists())
    ]
    if missing:
        raise FinstError(
            f"{len(missing)} of {len(pictures)} pictures of {folder} are missing ({_few(missing)}): run the same finst "
            "render command again, which resumes"
        )
    return pictures


def _named(folder: Path) -> tuple[FiledSided, ...]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not files:
        raise FinstError(f"there are no pictures in {folder}: expected files named {NAMES}")
    pictures = [_by_name(file) for file in files]
    wrong = [file.name for file, picture in zip(files, pictures, strict=True) if picture is None]
    if wrong:
        raise FinstError(
            f"the names of {len(wrong)} of {len(files)} pictures in {folder} do not describe two things of different "
            f"colours ({_few(wrong)}): expected {NAMES}, such as salt-desert_red-camel_white-dolphin_0.png"
        )
    return tuple(picture for picture in pictures if picture is not None)


def _by_name(file: Path) -> FiledSided | None:
    words = _RULE.fullmatch(file.stem)
    if words is None or words["lc"] == words["rc"]:
        return None
    left, right = (words["lc"], words["lk"].replace("-", " ")), (words["rc"], words["rk"].replace("-", " "))
    return FiledSided(file.stem, re.sub("[-_]", " ", words["place"]), (left, right), file)


def _pair(things: Any) -> tuple[Features, Features]:
    (left_colour, left_kind), (right_colour, right_kind) = things
    return (left_colour, left_kind), (right_colour, right_kind)


def pixels(file: Path, mode: str) -> UInt8[np.ndarray, "..."]:
    """Pixels of an image file, as ``RGB`` or as gray ``L``. Raises FinstError when the file is damaged."""
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert(mode))
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise FinstError(f"{file} cannot be read as a picture ({error}): copy or render it again") from error


def _few(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
