"""Two things before a camera: their poses, the rendered image, and the mask of each thing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from finst.errors import FinstError
from finst.scenes.designs import Features
from finst.scenes.renders.environments import surroundings
from finst.scenes.renders.solids import Solid
from finst.scenes.renders.things import PAINTS
from finst.scenes.renders.tracer import Parts, developed, linear, mesh, rgb, trace, tracer

_MASK_SAMPLES = 9


@dataclass(frozen=True)
class Shot:
    """The contents of one render."""

    things: tuple[Features, Features]
    """(colour, kind) of the left and of the right thing."""
    environment: str
    seed: tuple[int, ...]
    """Seed of all jitters: places, angles, sizes, camera, sun, textures."""


@dataclass(frozen=True, eq=False)
class RenderedPair:
    """A rendered shot with its ground truth."""

    image: UInt8[np.ndarray, "height width 3"]
    masks: Bool[np.ndarray, "2 height width"]
    """Pixels of which the left or the right thing visibly covers at least half; no pixel is in both masks."""


def photograph(shot: Shot, solids: tuple[Solid, Solid], px: int, samples: int) -> RenderedPair:
    """Renders ``px`` x ``px`` px with at least ``samples`` light paths each (rounded up to fill a lattice).

    Raises FinstError where the path tracer is not installed, and when a thing is not visible.
    """
    rng = np.random.default_rng(shot.seed)
    poses = placed(rng, solids)
    view, noise = _camera(rng, px), int(rng.integers(2**31))
    around = surroundings(shot.environment, rng)
    painted = [_painted(colour, rng) for colour, _ in shot.things]
    things = {f"thing_{i}": mesh(f"thing_{i}", solids[i], poses[i], painted[i]) for i in (0, 1)}
    integrator = {"type": "path", "max_depth": 4}
    scene = {"type": "scene", "integrator": integrator, "sensor": view, **around.parts, **things}
    image = developed(trace(scene, samples, noise), around.exposure)
    return RenderedPair(image, _masks(solids, poses, view, noise))


def placed(
    rng: np.random.Generator, solids: tuple[Solid, Solid]
) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "4 4"]]:
    """Poses of the left and of the right thing: turned roughly to one side, and clear of the middle."""
    left, right = (_pose(rng, solid, side) for solid, side in zip(solids, (-1, 1), strict=True))
    return left, right


def _pose(rng: np.random.Generator, solid: Solid, side: int) -> Float[np.ndarray, "4 4"]:
    angle = np.deg2rad(rng.uniform(-35, 35) + rng.choice([0, 180]))
    size = rng.uniform(0.86, 1.04)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    across = (solid.vertices @ turn.T)[:, 0] * size
    pose = np.eye(4)
    pose[:3, :3] = size * turn
    centre = side * (max(0.66, np.ptp(across) / 2 + 0.07) + rng.uniform(0, 0.12))
    pose[:3, 3] = centre - (across.max() + across.min()) / 2, rng.uniform(-0.35, 0.45), -0.012
    return pose


def _camera(rng: np.random.Generator, px: int) -> Parts:
    """A camera at the height of a child's eyes, focused on the things."""
    mi = tracer()
    origin = [float(v) for v in np.array([0, -6.4, 1.42]) + rng.uniform(-1, 1, 3) * [0.18, 0.2, 0.22]]
    target = [float(v) for v in np.array([0, 0, 0.56]) + rng.uniform(-1, 1, 3) * [0.05, 0, 0.05]]
    film = {"type": "hdrfilm", "width": px, "height": px, "rfilter": {"type": "box"}}
    return {
        "type": "thinlens",
        "fov": 30.0,
        "aperture_radius": 0.035,
        "focus_distance": float(-origin[1]),
        "to_world": mi.ScalarTransform4f().look_at(origin=origin, target=target, up=[0, 0, 1]),
        "film": film,
        "sampler": {"type": "multijitter"},
    }


def _painted(colour: str, rng: np.random.Generator) -> Parts:
    """Moulded plastic: matt with a soft shine."""
    paint = rgb(*(0.92 * np.array(linear(PAINTS[colour]))))
    return {"type": "principled", "base_color": paint, "roughness": float(rng.uniform(0.32, 0.5)), "specular": 0.45}


def _masks(
    solids: tuple[Solid, Solid],
    poses: tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "4 4"]],
    view: Parts,
    seed: int,
) -> Bool[np.ndarray, "2 height width"]:
    """Masks from a render by the same camera in which only the things emit light: the left red, the right green."""
    black = {"type": "diffuse", "reflectance": rgb(0.0)}
    lights = ({"type": "area", "radiance": rgb(1, 0, 0)}, {"type": "area", "radiance": rgb(0, 1, 0)})
    things = {f"thing_{i}": mesh(f"thing_{i}", solids[i], poses[i], black, lights[i]) for i in (0, 1)}
    scene = {"type": "scene", "integrator": {"type": "path", "max_depth": 1}, "sensor": view, **things}
    covered = trace(scene, _MASK_SAMPLES, seed)
    masks = np.stack([covered[..., 0] > 0.5, covered[..., 1] > 0.5])
    if not masks.any(axis=(1, 2)).all():
        raise FinstError("a thing is too thin to be visible at this size: expected more --px or another mesh")
    return masks
