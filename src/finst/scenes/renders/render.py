"""Renders a set of pictures into a folder, one by one; resumes after an interruption."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from finst.errors import FinstError, choice
from finst.scenes.read_picture import read_labels
from finst.scenes.renders.camera import Shot, photograph
from finst.scenes.renders.environments import ENVIRONMENTS
from finst.scenes.renders.folder import MASKS, RECORD, box, record
from finst.scenes.renders.sets import shots
from finst.scenes.renders.spec import RenderSpec
from finst.scenes.renders.things import PAINTS, mesh_files, thing, vocabulary
from finst.scenes.renders.tracer import tracer

PACKAGES = ("mitsuba", "numpy", "pillow", "scikit-image", "scipy", "trimesh")
"""Packages whose versions affect the pixels."""


@dataclass(frozen=True)
class Rendering:
    """A folder and its planned pictures. Call ``finish`` when none is left."""

    spec: RenderSpec
    out: Path
    shots: dict[str, Shot]

    @property
    def left(self) -> list[str]:
        """Names of the pictures that are not rendered yet."""
        return [name for name in self.shots if not all(file.exists() for file in self._files(name))]

    def render(self, name: str) -> None:
        """Renders one picture and its mask; on one machine the same bytes every time."""
        shot = self.shots[name]
        (_, left), (_, right) = shot.things
        solids = thing(left, self.spec.meshes, self.spec.up), thing(right, self.spec.meshes, self.spec.up)
        photo = photograph(shot, solids, self.spec.px, self.spec.spp)
        picture, mask = self._files(name)
        _replace(picture, _png(photo.image))
        _replace(mask, _png((photo.masks * np.array([1, 2])[:, None, None]).sum(0).astype(np.uint8)))

    def finish(self) -> None:
        """Writes the record with the boxes of all things."""
        self.note(with_boxes=True)

    def note(self, with_boxes: bool = False) -> None:
        """Writes the record: settings, versions, and the contents of every picture."""
        pictures = [
            {"name": name, "environment": shot.environment, "things": shot.things, "seed": shot.seed}
            | ({"boxes": self._boxes(name)} if with_boxes else {})
            for name, shot in self.shots.items()
        ]
        content = {**_origin(self.spec), "pictures": pictures}
        _replace(self.out / RECORD, f"{json.dumps(content, indent=1)}\n".encode())

    def _files(self, name: str) -> tuple[Path, Path]:
        return self.out / f"{name}.png", self.out / MASKS / f"{name}.png"

    def _boxes(self, name: str) -> list[tuple[int, int, int, int]]:
        labels = read_labels(self._files(name)[1])
        return [box(labels == side) for side in (1, 2)]


def rendering(spec: RenderSpec, out: Path) -> Rendering:
    """A rendering into a new folder, or into an unfinished folder of the same set, which it resumes.

    Raises FinstError, before anything is written, for unknown words, impossible sizes, a mesh that cannot be read, a
    folder with other renders or other files, and where the path tracer is not installed.
    """
    if spec.px < 32 or spec.spp < 1:
        raise FinstError(f"{spec.px} px and {spec.spp} paths per pixel: expected at least 32 px and 1 path")
    for what, words, valid in (("colour", spec.colours, PAINTS), ("environment", spec.environments, ENVIRONMENTS)):
        for word in words:
            if word not in valid:
                raise choice(what, word, valid)
    kinds = vocabulary(spec.things, spec.meshes)
    planned = shots(spec.colours, kinds, spec.environments, spec.count, spec.seed)
    tracer()
    for kind in kinds:
        thing(kind, spec.meshes, spec.up)
    work = Rendering(spec, out, planned)
    if (out / RECORD).exists():
        _same(record(out), json.loads(json.dumps(_origin(spec))), out)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FinstError(f"{out} holds other files: expected a new folder, or one that finst render wrote")
    else:
        (out / MASKS).mkdir(parents=True, exist_ok=True)
        work.note()
    return work


def _origin(spec: RenderSpec) -> dict[str, Any]:
    """All that determines the pixels: settings, the contents of the meshes, versions."""
    digests = {
        word: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for word, file in mesh_files(spec.meshes).items()
    }
    settings = {**asdict(spec), "meshes": digests, "things": vocabulary(spec.things, spec.meshes)}
    return {"settings": settings, "versions": {name: version(name) for name in PACKAGES}}


def _same(before: dict[str, Any], now: dict[str, Any], out: Path) -> None:
    for part in ("settings", "versions"):
        changed = sorted(key for key in now[part] if before.get(part, {}).get(key) != now[part][key])
        if changed:
            raise FinstError(
                f"{out} holds renders of other {part} ({', '.join(changed)}): expected the same {part} or another --out"
            )


def _png(pixels: UInt8[np.ndarray, "height width *channels"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _replace(file: Path, content: bytes) -> None:
    """Writes a file atomically: an interruption leaves no partial file."""
    partial = file.with_name(f"{file.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, file)
