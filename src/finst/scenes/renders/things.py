"""The things that a render can show, by name, and the colours of their paint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from finst.errors import FinstError, choice
from finst.scenes.renders import animals
from finst.scenes.renders.extra import extra
from finst.scenes.renders.solids import Solid, extruded, solid
from finst.scenes.renders.spec import Up
from finst.scenes.shapes import COLOURS, OUTLINES, SHAPES

ANIMALS = ("camel", "dolphin", "elephant")
"""The paper's things (Fig 3)."""

PAINTS: Mapping[str, tuple[int, int, int]] = {**COLOURS, "white": (238, 236, 230)}
"""Colours of paint, sRGB in 0..255: those of the drawings, and white."""

MESHES = (".obj", ".ply", ".stl", ".glb")
"""The endings of files that are read as meshes."""


@lru_cache(maxsize=16)
def thing(word: str, meshes: Path | None = None, up: Up = "y") -> Solid:
    """The thing of that name: from the folder ``meshes`` if it has one, else an animal, else a shape as a solid.

    Raises FinstError for a name that none of them has, and for a file that is no mesh.
    """
    files = mesh_files(meshes)
    if word in files:
        return _loaded(files[word], up)
    made = {name: getattr(animals, name) for name in ANIMALS} | {name: partial(_shape, name) for name in SHAPES}
    if word not in made:
        raise choice("thing", word, dict.fromkeys((*files, *made)))
    return made[word]()


def mesh_files(folder: Path | None) -> dict[str, Path]:
    """The meshes of a folder by name: ``polar_bear.obj`` is ``polar bear``.

    Raises FinstError when there are none, and when two files have the same name.
    """
    if folder is None:
        return {}
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in MESHES)
    if not files:
        raise FinstError(f"no meshes in {folder}: expected a folder with files such as camel.obj ({', '.join(MESHES)})")
    words = [file.stem.lower().replace("_", " ").replace("-", " ") for file in files]
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice:
        raise FinstError(f"several meshes in {folder} are named {', '.join(twice)}: expected one file for each thing")
    return dict(zip(words, files, strict=True))


def vocabulary(things: Sequence[str], meshes: Path | None) -> tuple[str, ...]:
    """The names selected by ``--things``; ``animals`` and ``shapes`` select all of their kind.

    The default is the meshes of the folder, or the animals without one. Raises FinstError for an unknown name.
    """
    files = mesh_files(meshes)
    groups = {"animals": ANIMALS, "shapes": SHAPES}
    words = [word for name in things for word in groups.get(name, (name,))] or list(files) or list(ANIMALS)
    valid = dict.fromkeys((*groups, *files, *ANIMALS, *SHAPES))
    for word in words:
        if word not in valid:
            raise choice("thing", word, valid)
    return tuple(dict.fromkeys(words))


def _shape(word: str) -> Solid:
    """An outline of the drawings as an upright slab with rounded edges."""
    points = np.array(OUTLINES[word], dtype=float)
    low, high = points.min(0), points.max(0)
    outline = ((points - low) / (high - low) - [0.5, 1.0]) * [1, -1]
    return solid(extruded(outline, 0.16, 0.05), (-0.5, -0.16, 0.0), (0.5, 0.16, 1.0), 0.0125).standing()


def _loaded(file: Path, up: Up) -> Solid:
    trimesh = extra("trimesh")
    try:
        mesh = trimesh.load_mesh(file)
        trimesh.repair.fix_normals(mesh)
        smooth = trimesh.graph.smooth_shade(mesh, angle=np.deg2rad(50))
        vertices, faces, normals = np.array(smooth.vertices), np.array(smooth.faces), np.array(smooth.vertex_normals)
        if not (len(faces) and np.isfinite(vertices).all()):
            raise ValueError("it has no triangles")
    except Exception as error:  # the readers of trimesh raise whatever their parsers do
        raise FinstError(f"{file} cannot be read as a mesh ({error}): expected {', '.join(MESHES)}") from error
    if up == "y":
        vertices, normals = (np.stack([v[:, 0], -v[:, 2], v[:, 1]], axis=-1) for v in (vertices, normals))
    return Solid(vertices, faces.astype(np.int64), normals).standing()
