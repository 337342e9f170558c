"""The path tracer: descriptions of scenes, their rendering, and tone mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from finst.scenes.renders.extra import extra
from finst.scenes.renders.solids import Solid

Parts = dict[str, Any]
"""Part of a scene in Mitsuba's format: a plugin's name under ``type``, and its settings."""


def tracer() -> Any:
    """Mitsuba 3, in the variant that runs on any processor. Raises FinstError where it is not installed."""
    mitsuba = extra("mitsuba")
    if mitsuba.variant() != "scalar_rgb":
        mitsuba.set_variant("scalar_rgb")
        mitsuba.set_log_level(mitsuba.LogLevel.Error)
    return mitsuba


def linear(colour: tuple[int, int, int]) -> list[float]:
    """An sRGB colour of 0..255 as linear shares of light."""
    shares = np.array(colour) / 255
    return [float(v) for v in np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)]


def rgb(*values: float) -> Parts:
    """A uniform colour, linear in light; one value is gray."""
    return {"type": "rgb", "value": [float(v) for v in values] if len(values) == 3 else float(values[0])}


def texture(
    values: Float[np.ndarray, "row col 3"] | Float[np.ndarray, "row col 1"],
    repeats: tuple[float, float] = (1.0, 1.0),
    start: tuple[float, float] = (0.0, 0.0),
) -> Parts:
    """A texture of linear values, repeated along a surface's two sides ``repeats`` times, beginning at ``start``.

    The first row is at the far or upper end.
    """
    mi = tracer()
    bitmap = mi.Bitmap(np.ascontiguousarray(values[::-1], dtype=np.float32))
    place = mi.ScalarTransform4f().translate([*start, 0.0]).scale([*repeats, 1.0])
    return {"type": "bitmap", "bitmap": bitmap, "raw": True, "to_uv": place}


def panel(centre: tuple[float, ...], sides: tuple[float, float], normal: str, material: Parts, **more: Any) -> Parts:
    """A rectangle of ``sides`` in world units that faces up, down, right, or back to the camera."""
    mi = tracer()
    turn = {"up": ([1, 0, 0], 0), "down": ([1, 0, 0], 180), "back": ([1, 0, 0], 90), "right": ([0, 1, 0], 90)}[normal]
    place = mi.ScalarTransform4f().translate(list(centre)).rotate(*turn).scale([sides[0] / 2, sides[1] / 2, 1])
    return {"type": "rectangle", "to_world": place, "bsdf": material, **more}


def mesh(
    name: str,
    solid: Solid,
    pose: Float[np.ndarray, "4 4"],
    material: Mapping[str, Any],
    emission: Mapping[str, Any] | None = None,
) -> Any:
    """A solid of one material, rotated, uniformly scaled and moved by ``pose``; it may emit light."""
    mi = tracer()
    settings = mi.Properties()
    settings["bsdf"] = mi.load_dict(dict(material))
    if emission is not None:
        settings["emitter"] = mi.load_dict(dict(emission))
    shape = mi.Mesh(name, len(solid.vertices), len(solid.faces), props=settings, has_vertex_normals=True)
    turn = pose[:3, :3] / np.cbrt(np.linalg.det(pose[:3, :3]))
    values = mi.traverse(shape)
    values["vertex_positions"] = (solid.vertices @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32).ravel()
    values["vertex_normals"] = (solid.normals @ turn.T).astype(np.float32).ravel()
    values["faces"] = solid.faces.astype(np.uint32).ravel()
    values.update()
    return shape


def trace(scene: Parts, samples: int, seed: int) -> Float[np.ndarray, "row col 3"]:
    """The light at every pixel; the same values for the same seed on one machine."""
    mi = tracer()
    loaded = mi.load_dict(scene, optimize=False)  # merging shapes would number the lights in a random order
    return np.array(mi.render(loaded, spp=samples, seed=seed), dtype=np.float64)[..., :3]


def without_fireflies(light: Float[np.ndarray, "row col 3"], most: float = 1.5) -> Float[np.ndarray, "row col 3"]:
    """Limits every pixel to ``most`` times the third brightest of the nine pixels around it.

    A rare light path leaves a single very bright pixel, which only many more paths would average out.
    """
    around = np.pad(light.sum(-1), 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3)).reshape(*light.shape[:2], 9)
    limit = most * np.sort(windows, axis=-1)[..., -3]
    total = light.sum(-1)
    return light * np.minimum(1, limit / np.maximum(total, 1e-12))[..., None]


def developed(light: Float[np.ndarray, "row col 3"], exposure: float) -> UInt8[np.ndarray, "row col 3"]:
    """Tone-mapped pixels: bright parts are compressed rather than clipped, and dark parts gain contrast.

    The curve is Narkowicz's fit of the ACES film response ("ACES filmic tone mapping curve", 2016), then sRGB's.
    """
    x = np.maximum(without_fireflies(light), 0) * exposure
    film = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    display = np.where(film <= 0.0031308, 12.92 * film, 1.055 * film ** (1 / 2.4) - 0.055)
    return np.rint(255 * display).astype(np.uint8)
