"""The settings of rendered pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Up = Literal["y", "z"]

ENVIRONMENT_NAMES = ("beach", "salt desert", "museum")
"""The names of ``environments.ENVIRONMENTS``, in a module that needs no renderer."""


@dataclass(frozen=True)
class RenderSpec:
    """Pictures of two coloured things, left and right, on a beach, in a salt desert and in a museum (Fig 3)."""

    things: tuple[str, ...] = ()
    """Any of camel, dolphin, elephant (all: animals), of circle, square ... (all: shapes), and of --meshes. Default:
    those of --meshes, or the animals without it."""
    meshes: Path | None = None
    """Folder of your own meshes: camel.obj is a camel. Also .ply, .stl and .glb."""
    up: Up = "y"
    """The axis of the meshes that points up."""
    colours: tuple[str, ...] = ("green", "red", "white")
    """Two or more."""
    environments: tuple[str, ...] = ENVIRONMENT_NAMES
    """Any of beach, "salt desert" and museum."""
    count: int = 324
    """Number of pictures. 162 are all combinations of the paper's words; more repeat them with other jitters.
    finst run photoreal needs at least 88 with its own defaults: 40 to estimate from and 48 to test on."""
    px: int = 448
    """Width and height of a picture in px."""
    spp: int = 32
    """Light paths per pixel, at least: more paths give less noise and take longer."""
    seed: int = 0
    """Seed of the order and of the jitters."""
