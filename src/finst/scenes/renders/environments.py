"""Environments of renders: ground, background and light of a beach, a salt desert and a museum (Fig 3).

The camera looks along y from about y = -6; x points right and z up. A thing is about 1 unit long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from finst.errors import choice
from finst.scenes.renders import textures
from finst.scenes.renders.tracer import Parts, panel, rgb, texture, tracer

_FAR = 600.0


@dataclass(frozen=True)
class Surroundings:
    """A scene without its two things and the camera."""

    parts: Parts
    exposure: float
    """Factor of the light before tone mapping."""


def beach(rng: np.random.Generator) -> Surroundings:
    """Rippled sand, wet at the sea's edge; the sun of a late morning from behind the camera, left or right."""
    colours, heights = _made("sand")
    (edge,), (waves,) = _made("shore"), _made("waves")
    water = {"type": "principled", "base_color": rgb(0.022, 0.115, 0.15), "roughness": 0.34, "specular": 0.4}
    wet = {"type": "diffuse", "reflectance": texture(edge, start=(float(rng.uniform()), 0.0))}
    parts = {
        "sand": panel((0, 0, 0), (120, 17.4), "up", _rough(rng, colours, heights, 0.05, (120 / 12, 17.4 / 12))),
        "shore": panel((0, 12.0, 0.004), (60, 6.6), "up", wet),
        "sea": panel((0, 15.2 + _FAR / 2, 0), (2 * _FAR, _FAR), "up", _bumpy(water, waves, 0.6, (160, 80))),
        "sky": _sky(rng, (38, 58), (20, 55), turbidity=3.0, albedo=0.3),
    }
    return Surroundings(parts, 1.4)


def salt_desert(rng: np.random.Generator) -> Surroundings:
    """A cracked crust as far as the hills on the horizon; a lower sun."""
    colours, heights = _made("salt")
    parts = {
        "crust": panel((0, 0, 0), (840, 840), "up", _rough(rng, colours, heights, 0.035, (70, 70))),
        "hills": panel((0, 400, 30), (1600, 60), "back", _hills(rng)),
        "sky": _sky(rng, (24, 40), (30, 65), turbidity=2.2, albedo=0.6),
    }
    return Surroundings(parts, 1.75)


def museum(rng: np.random.Generator) -> Surroundings:
    """A gallery: waxed boards, paintings on a plain wall, daylight from a ceiling window and from one side."""
    back, high, half = 4.6, 4.4, 7.0
    wall = {"type": "diffuse", "reflectance": rgb(0.27, 0.30, 0.31)}
    white = {"type": "diffuse", "reflectance": rgb(0.72)}
    (boards,) = _made("parquet")
    wood = texture(boards, (5, 6), (float(rng.uniform()), float(rng.uniform())))
    floor = {"type": "principled", "base_color": wood, "roughness": 0.3, "specular": 0.35}
    warm, cool = rgb(9.0, 8.5, 7.6), rgb(7.0, 7.6, 8.4)
    parts = {
        "floor": panel((0, -2, 0), (2 * half, 16), "up", floor),
        "wall": panel((0, back, high / 2), (2 * half, high), "back", wall),
        "skirting": panel((0, back - 0.03, 0.11), (2 * half, 0.22), "back", white),
        "ledge": panel((0, back - 0.015, 0.22), (2 * half, 0.03), "up", white),
        "ceiling": panel((0, -2, high), (2 * half, 16), "down", white),
        "skylight": panel((0, -1.0, high - 0.05), (5.5, 3.0), "down", white, emitter=_shining(warm)),
        "window": panel((-half + 0.1, -2.5, 2.3), (2.6, 5.0), "right", white, emitter=_shining(cool)),
        "room": {"type": "constant", "radiance": rgb(0.35)},
    }
    for index, x in enumerate(np.array([-2.6, 0.0, 2.6]) + rng.uniform(-0.25, 0.25)):
        parts |= _framed(rng, index, float(x), back, 1.85 + float(rng.uniform(-0.05, 0.05)))
    return Surroundings(parts, 0.42)


ENVIRONMENTS: dict[str, Callable[[np.random.Generator], Surroundings]] = {
    "beach": beach,
    "salt desert": salt_desert,
    "museum": museum,
}


def surroundings(name: str, rng: np.random.Generator) -> Surroundings:
    """An environment of ``ENVIRONMENTS``, jittered by ``rng``. Raises FinstError for an unknown name."""
    if name not in ENVIRONMENTS:
        raise choice("environment", name, ENVIRONMENTS)
    return ENVIRONMENTS[name](rng)


@lru_cache(maxsize=8)
def _made(name: str) -> tuple[np.ndarray, ...]:
    """Large textures, made once: every render shows another part of them."""
    rng = np.random.default_rng(2025)
    if name == "sand":
        return textures.sand(rng, 1536)
    if name == "salt":
        return textures.salt(rng, 1536, 13)
    if name == "parquet":
        return (textures.parquet(rng, 1024, 12),)
    if name == "shore":
        return (textures.shore(rng, 256, 1024),)
    return (0.5 * textures.noise(rng, (512, 512), 1.2, finest=3),)


def _sky(
    rng: np.random.Generator, heights: tuple[float, float], sides: tuple[float, float], turbidity: float, albedo: float
) -> Parts:
    """Sky and sun; the sun is behind the camera, with ranges of its height and its angle to one side in degrees."""
    height, side = np.deg2rad(rng.uniform(*heights)), np.deg2rad(rng.uniform(*sides) * rng.choice([-1, 1]))
    sun = [float(np.cos(height) * np.sin(side)), float(-np.cos(height) * np.cos(side)), float(np.sin(height))]
    return {"type": "sunsky", "turbidity": turbidity, "albedo": rgb(albedo), "sun_direction": sun}


def _rough(
    rng: np.random.Generator,
    colours: textures.Colours,
    heights: textures.Field,
    depth: float,
    repeats: tuple[float, float],
) -> Parts:
    """Matt ground, from a place in the texture drawn by ``rng``; bumps are ``depth`` times ``heights``."""
    start = (float(rng.uniform()), float(rng.uniform()))
    matt = {"type": "diffuse", "reflectance": texture(colours, repeats, start)}
    return _bumpy(matt, heights, depth, repeats, start)


def _bumpy(
    material: Parts,
    heights: textures.Field,
    depth: float,
    repeats: tuple[float, float],
    start: tuple[float, float] = (0.0, 0.0),
) -> Parts:
    relief = texture(heights[..., None], repeats, start)
    return {"type": "bumpmap", "relief": relief, "scale": depth, "bsdf": material}


def _hills(rng: np.random.Generator) -> Parts:
    """Two ranges of hills on one panel, the farther range paler with haze."""
    rows, cols = 64, 1024
    height = 1 - (np.arange(rows)[:, None] + 0.5) / rows
    far = 0.20 + 0.085 * textures.noise(rng, (1, cols), 1.2)
    near = 0.07 + 0.055 * textures.noise(rng, (1, cols), 1.1)
    opaque = np.clip((np.maximum(far, near) - height) * rows + 0.5, 0, 1)
    haze = textures.mixed(np.clip((near - height) * rows, 0, 1), (0.30, 0.36, 0.46), (0.22, 0.235, 0.27))
    hills = {"type": "diffuse", "reflectance": texture(haze)}
    return {"type": "mask", "opacity": texture(opaque[..., None]), "bsdf": hills}


def _framed(rng: np.random.Generator, index: int, x: float, back: float, z: float) -> Parts:
    """A painting, its mount and its frame, at slightly different depths."""
    width, height = float(rng.uniform(1.3, 1.75)), float(rng.uniform(0.95, 1.25))
    wood = {"type": "principled", "base_color": rgb(0.23, 0.15, 0.06), "roughness": 0.4, "metallic": 0.5}
    image = textures.painting(rng, 192, int(192 * width / height))
    canvas = {"type": "diffuse", "reflectance": texture(image)}
    mount = {"type": "diffuse", "reflectance": rgb(0.58, 0.54, 0.46)}
    box = {
        "type": "cube",
        "to_world": tracer()
        .ScalarTransform4f()
        .translate([x, back - 0.04, z])
        .scale([width / 2 + 0.16, 0.04, height / 2 + 0.16]),
        "bsdf": wood,
    }
    return {
        f"frame_{index}": box,
        f"mount_{index}": panel((x, back - 0.082, z), (width + 0.16, height + 0.16), "back", mount),
        f"canvas_{index}": panel((x, back - 0.084, z), (width, height), "back", canvas),
    }


def _shining(light: Parts) -> Parts:
    return {"type": "area", "radiance": light}
