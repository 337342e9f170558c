"""Photographs in a folder, with COCO's annotations where the folder has them.

Drawn scenes have the same interface, for models that know only drawings.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from finst.errors import FinstError
from finst.options import DRAWN as DRAWN
from finst.scenes.coco_annotations import matched, read_categories
from finst.scenes.designs import grid_scene
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Picture, Scene
from finst.scenes.picture_files import PictureFiles, counted, picture_files
from finst.scenes.read_picture import READ_ENDINGS, read_file, smaller

COCO_PICTURES = "val2017"
COCO_ANNOTATIONS = "annotations/instances_val2017.json"
"""The paths to which the archives of COCO 2017 unpack."""


@runtime_checkable
class Photograph(Protocol):
    """One picture of a set. Pixels are loaded when ``picture`` is called."""

    @property
    def name(self) -> str:
        """The picture's name, unique in its set."""
        ...

    @property
    def categories(self) -> tuple[str, ...] | None:
        """The annotated categories in the picture; None without annotations."""
        ...

    def picture(self) -> Picture:
        """The picture's pixels. Raises FinstError when the file cannot be shown."""
        ...


@dataclass(frozen=True)
class Photo:
    """A file in a folder."""

    name: str
    """Its path within the folder."""
    file: Path
    px: int
    """Longest side in px: larger photographs are shrunk to it, with their aspect ratio kept."""
    categories: tuple[str, ...] | None = None

    def picture(self) -> Picture:
        """The photograph as ``read_picture`` reads it, without objects. Raises FinstError as ``read_file`` does."""
        shown = smaller(read_file(self.file, self.name), self.px)
        height, width = shown.pixels.shape[:2]
        masks = np.zeros((0, height, width), dtype=bool)
        return Picture(Scene(width, height, ()), shown.pixels, masks, shown.notes)


@dataclass(frozen=True)
class DrawnPhoto:
    """A drawn scene; its objects are its categories."""

    name: str
    scene: Scene

    @property
    def categories(self) -> tuple[str, ...]:
        """Colour and shape of every object."""
        return tuple(obj.name for obj in self.scene.objects)

    def picture(self) -> Picture:
        """The drawing of the scene by ``draw``."""
        return draw(self.scene)


@dataclass(frozen=True)
class PhotoSet:
    """The pictures of a run."""

    photos: Sequence[Photograph]
    notes: tuple[str, ...] = ()
    """What of the folder is not among them, in words."""


def drawn_photos(count: int, seed: int) -> tuple[DrawnPhoto, ...]:
    """``count`` scenes of two to four objects, of different colours and shapes, in random cells of the 3x3 grid."""
    rng = np.random.default_rng([seed, 3])
    scenes = (grid_scene(rng, Grid(3, 3), int(rng.integers(2, 5)), "high") for _ in range(count))
    return tuple(DrawnPhoto(f"drawn {index}", scene) for index, scene in enumerate(scenes))


def read_photos(folder: Path, px: int) -> tuple[Photo, ...]:
    """The photographs in a folder and its subfolders, sorted by name; files are opened later.

    From a folder with COCO's ``val2017`` and ``annotations/instances_val2017.json`` come the photographs of the former
    with at least two annotated categories. ``px`` is their longest side. Raises FinstError for a folder that does not
    exist, cannot be opened or holds no photographs, and for annotations that are damaged or of other photographs.
    """
    return _folder(folder, px)[0]


def _folder(folder: Path, px: int) -> tuple[tuple[Photo, ...], tuple[str, ...]]:
    """The photographs of a folder, and what is not among them."""
    if not os.path.isdir(folder):
        raise FinstError(
            f"{folder} is no folder: expected {DRAWN!r}, a folder of photographs ({', '.join(READ_ENDINGS)}), or a "
            f"folder with COCO's {COCO_PICTURES} and {COCO_ANNOTATIONS}"
        )
    annotations = folder / COCO_ANNOTATIONS
    known = annotations.is_file() and (folder / COCO_PICTURES).is_dir()
    within = folder / COCO_PICTURES if known else folder
    found = picture_files(within)
    if not found.files:
        besides = f"; {'; '.join(found.unread)}" if found.unread else ""
        raise FinstError(
            f"{within} holds no photographs: expected files that end with {', '.join(READ_ENDINGS)}{besides}"
        )
    if not known:
        return tuple(Photo(name, file, px) for name, file in found.files.items()), found.unread
    return _annotated(found, annotations, px)


def _annotated(found: PictureFiles, annotations: Path, px: int) -> tuple[tuple[Photo, ...], tuple[str, ...]]:
    """The photographs with at least two categories, and how many others there are."""
    everywhere = read_categories(annotations)
    categories = matched(found.files, everywhere, COCO_PICTURES)
    photos = tuple(
        Photo(name, file, px, categories[name])
        for name, file in found.files.items()
        if len(categories.get(name, ())) >= 2
    )
    few, unknown = len(categories) - len(photos), len(found.files) - len(categories)
    if not photos:
        raise FinstError(
            f"none of the {len(found.files)} photographs in {annotations.parents[1] / COCO_PICTURES} has two "
            f"categories in {annotations.name}: {few} have fewer, and {unknown} are not named there, such as "
            f"{next(iter({*found.files} - {*categories}), 'none')!r}; expected the annotations of these photographs "
            f"(the first of {len(everywhere)} names in it is {next(iter(everywhere), None)!r})"
        )
    notes = [f"{counted(few, 'photograph')} of fewer than two annotated categories"] if few else []
    notes += [f"{counted(unknown, 'photograph')} not named in {annotations.name}"] if unknown else []
    return photos, (*notes, *found.unread)


def photo_set(source: str, count: int, px: int, seed: int) -> PhotoSet:
    """``count`` random pictures of the folder ``source`` (all, if it has fewer), sorted by name; or drawn scenes.

    ``source`` is the path of a folder or ``DRAWN``; ``px`` is the longest side of photographs. Raises FinstError as
    ``read_photos`` does.
    """
    if source == DRAWN:
        return PhotoSet(drawn_photos(count, seed))
    every, notes = _folder(Path(os.path.expanduser(source)), px)
    chosen = np.random.default_rng([seed, 3]).permutation(len(every))[:count]
    return PhotoSet(tuple(every[index] for index in sorted(chosen.tolist())), notes)


def photos_of(source: str, count: int, px: int, seed: int) -> Sequence[Photograph]:
    """The pictures of ``photo_set``."""
    return photo_set(source, count, px, seed).photos
