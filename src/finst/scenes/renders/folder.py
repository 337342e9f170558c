"""Folders of pictures of two things: those that ``finst render`` writes, and others with descriptive file names."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool

from finst.errors import FinstError
from finst.scenes.designs import Features
from finst.scenes.object import Box, Obj, Picture, Scene
from finst.scenes.picture_files import PictureFiles, listed, picture_files
from finst.scenes.read_picture import read_file, read_labels
from finst.scenes.side_by_side_pairs import SIDES

RECORD, MASKS = "renders.json", "masks"

NAMES = "{environment}_{leftcolour}-{leftkind}_{rightcolour}-{rightkind}_{n}.png"
"""Names of files: no underscore within a colour or kind and no hyphen within a colour; elsewhere hyphens stand for
spaces, and n is a number. The two colours differ. Other formats of ``read_picture`` are read as well."""

PUG_NAMES = "pug_{leftcolour}_{leftkind}_{rightcolour}_{rightkind}_{environment}_{n}.png"
"""Names in the public reproduction of the paper: the same words in another order."""

_PUG = re.compile(r"pug_(?P<lc>[^_-]+)_(?P<lk>[^_]+)_(?P<rc>[^_-]+)_(?P<rk>[^_]+)_(?P<place>.+)_(?P<n>\d+)")

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
        """Pixels, masks and boxes, upright; boxes are tight around masks.

        Raises FinstError for a file that cannot be shown, and for a mask of another size, with other numbers than 0
        (neither), 1 (left) and 2 (right), or without one of the things.
        """
        shown = read_file(self.file)
        height, width = shown.pixels.shape[:2]
        if self.mask_file is None:
            halves = np.broadcast_to(np.arange(width) < width // 2, (height, width))
            masks = np.stack([halves, ~halves])
        else:
            labels = read_labels(self.mask_file)
            if labels.shape != (height, width):
                raise FinstError(
                    f"{self.mask_file} has {labels.shape[1]}x{labels.shape[0]} px and its picture {width}x{height}: "
                    "expected a mask of the same size"
                )
            if others := sorted({*np.unique(labels).tolist()} - {0, 1, 2}):
                raise FinstError(
                    f"{self.mask_file} holds {listed([*map(str, others)], 5)}: expected 0 (neither thing), 1 (the left "
                    "one) and 2 (the right one)"
                )
            masks = np.stack([labels == 1, labels == 2])
        for side, mask in zip(SIDES, masks, strict=True):
            if not mask.any():
                raise FinstError(f"{self.mask_file or self.file} shows no {side} thing: expected one on each side")
        boxed = zip(self.things, masks, (0, 1), strict=True)
        objects = tuple(Obj(colour, kind, box(mask), (0, side)) for (colour, kind), mask, side in boxed)
        return Picture(Scene(width, height, objects), shown.pixels, masks, shown.notes)


def read_sided(folder: Path | str) -> tuple[FiledSided, ...]:
    """The pictures of a folder that ``finst render`` wrote, or of a folder (with its subfolders) of files whose names
    follow the rule ``NAMES`` or ``PUG_NAMES``.

    Pixels are read later, one picture at a time. Raises FinstError for a folder that is missing, empty or not fully
    rendered, and for files whose names do not follow the rules.
    """
    folder = Path(os.path.expanduser(folder))
    if not os.path.isdir(folder):
        raise FinstError(f"there is no folder {folder}: expected one that finst render wrote, or files named {NAMES}")
    return _recorded(folder) if (folder / RECORD).exists() else _named(folder)


def unread(folder: Path | str) -> tuple[str, ...]:
    """What else lies in a folder of files that are known by their names, in words."""
    folder = Path(os.path.expanduser(folder))
    return () if (folder / RECORD).exists() else _files(folder).unread


def _files(folder: Path) -> PictureFiles:
    """All picture files but masks, which a folder without its record may still have."""
    return picture_files(folder, without=(MASKS,))


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
            f"{len(missing)} of {len(pictures)} pictures of {folder} are missing ({listed(missing, 5)}): run the same "
            "finst render command again, which resumes"
        )
    return pictures


def _named(folder: Path) -> tuple[FiledSided, ...]:
    files = _files(folder).files
    if not files:
        raise FinstError(f"there are no pictures in {folder}: expected files named {NAMES}")
    times = Counter(_without_ending(name) for name in files)
    pictures = [
        _by_name(name if times[_without_ending(name)] > 1 else _without_ending(name), file)
        for name, file in files.items()
    ]
    wrong = [name for name, picture in zip(files, pictures, strict=True) if picture is None]
    if wrong:
        raise FinstError(
            f"the names of {len(wrong)} of {len(files)} pictures in {folder} do not describe two things of different "
            f"colours ({listed(wrong, 5)}): expected {NAMES}, such as salt-desert_red-camel_white-dolphin_0.png, or "
            f"{PUG_NAMES}"
        )
    return tuple(picture for picture in pictures if picture is not None)


def _without_ending(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _by_name(name: str, file: Path) -> FiledSided | None:
    words = _PUG.fullmatch(file.stem) or _RULE.fullmatch(file.stem)
    if words is None or words["lc"] == words["rc"]:
        return None
    left, right = (words["lc"], words["lk"].replace("-", " ")), (words["rc"], words["rk"].replace("-", " "))
    return FiledSided(name, re.sub("[-_]", " ", words["place"]), (left, right), file)


def _pair(things: Any) -> tuple[Features, Features]:
    (left_colour, left_kind), (right_colour, right_kind) = things
    return (left_colour, left_kind), (right_colour, right_kind)
