"""Photographs in a folder, with COCO's annotations where the folder has them.

Drawn scenes have the same interface, for models that know only drawings.
"""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageOps

from finst.errors import FinstError
from finst.options import DRAWN as DRAWN
from finst.scenes.designs import grid_scene
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Picture, Scene

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of the files that are read as photographs, in upper or lower case."""

COCO_PICTURES = "val2017"
COCO_ANNOTATIONS = "annotations/instances_val2017.json"
"""The paths to which the archives of COCO 2017 unpack."""

_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, KeyError, EOFError, struct.error, Image.DecompressionBombError)
"""The exceptions that Pillow raises for damaged files."""


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
        """The picture's pixels. Raises FinstError when the file is damaged."""
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
        """The photograph in RGB, rotated by its EXIF data, without objects. Raises FinstError for a damaged file."""
        try:
            with Image.open(self.file) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB")
            image.thumbnail((self.px, self.px), Image.Resampling.LANCZOS)
        except _DAMAGE as cause:
            raise FinstError(f"{self.name} is no whole picture: expected one that Pillow reads") from cause
        pixels = np.array(image, dtype=np.uint8)
        height, width = pixels.shape[:2]
        return Picture(Scene(width, height, ()), pixels, np.zeros((0, height, width), dtype=bool))


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


def drawn_photos(count: int, seed: int) -> tuple[DrawnPhoto, ...]:
    """``count`` scenes of two to four objects, of different colours and shapes, in random cells of the 3x3 grid."""
    rng = np.random.default_rng([seed, 3])
    scenes = (grid_scene(rng, Grid(3, 3), int(rng.integers(2, 5)), "high") for _ in range(count))
    return tuple(DrawnPhoto(f"drawn {index}", scene) for index, scene in enumerate(scenes))


def read_photos(folder: Path, px: int) -> tuple[Photo, ...]:
    """The photographs in a folder and its subfolders, sorted by name; files are opened later.

    From a folder with COCO's ``val2017`` and ``annotations/instances_val2017.json`` come the photographs of the former
    with at least two annotated categories. ``px`` is their longest side. Raises FinstError for a folder that does not
    exist or holds no photographs, and for damaged annotations.
    """
    if not folder.is_dir():
        raise FinstError(
            f"{folder} is no folder: expected {DRAWN!r}, a folder of photographs ({', '.join(ENDINGS)}), or a folder "
            f"with COCO's {COCO_PICTURES} and {COCO_ANNOTATIONS}"
        )
    annotations = folder / COCO_ANNOTATIONS
    known = annotations.is_file() and (folder / COCO_PICTURES).is_dir()
    within = folder / COCO_PICTURES if known else folder
    files = {path.relative_to(within).as_posix(): path for path in within.rglob("*") if _is_photograph(path)}
    if not files:
        raise FinstError(f"{within} holds no photographs: expected files that end with {', '.join(ENDINGS)}")
    if not known:
        return tuple(Photo(name, files[name], px) for name in sorted(files))
    categories = read_categories(annotations)
    photos = tuple(
        Photo(name, files[name], px, categories[name]) for name in sorted(files) if len(categories.get(name, ())) >= 2
    )
    if not photos:
        raise FinstError(
            f"none of the {len(files)} photographs in {within} has two categories in {annotations.name}: expected the "
            "annotations of these photographs"
        )
    return photos


def _is_photograph(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()


def read_categories(annotations: Path) -> Mapping[str, tuple[str, ...]]:
    """Names of the categories in every picture, by the picture's file name, from COCO's JSON of instances.

    Raises FinstError for another file.
    """
    try:
        data = json.loads(annotations.read_text(encoding="utf-8"))
        names = {category["id"]: str(category["name"]) for category in data["categories"]}
        files = {image["id"]: str(image["file_name"]) for image in data["images"]}
        by_file: defaultdict[str, set[str]] = defaultdict(set)
        for instance in data["annotations"]:
            by_file[files[instance["image_id"]]].add(names[instance["category_id"]])
    except (ValueError, KeyError, TypeError) as cause:
        raise FinstError(
            f"{annotations} is not COCO's JSON of instances: expected categories, images and annotations that name "
            "each other"
        ) from cause
    return {file: tuple(sorted(categories)) for file, categories in by_file.items()}


def photos_of(source: str, count: int, px: int, seed: int) -> Sequence[Photograph]:
    """``count`` random pictures of the folder ``source`` (all, if it has fewer), sorted by name; or drawn scenes.

    ``source`` is the path of a folder or ``DRAWN``; ``px`` is the longest side of photographs. Raises FinstError as
    ``read_photos`` does.
    """
    if source == DRAWN:
        return drawn_photos(count, seed)
    every = read_photos(Path(source).expanduser(), px)
    chosen = np.random.default_rng([seed, 3]).permutation(len(every))[:count]
    return tuple(every[index] for index in sorted(chosen.tolist()))
