"""Solids: signed distances, and the triangles of their surfaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from finst.errors import FinstError
from finst.scenes.renders.extra import extra

Points = Float[np.ndarray, "*place 3"]
"""x ahead of the thing, y to its left, z up; the ground is z = 0."""

Distance = Callable[[Points], Float[np.ndarray, "*place"]]
"""Signed distance of a point from a surface, negative inside; zero on the surface."""


MOST = 1.4
"""Largest length or height of a thing, whose average of length and height is 1."""


@dataclass(frozen=True, eq=False)
class Solid:
    """A triangle mesh that stands on the ground around x = y = 0. Normals are those of a smooth surface."""

    vertices: Float[np.ndarray, "vertex 3"]
    faces: Int[np.ndarray, "face 3"]
    normals: Float[np.ndarray, "vertex 3"]

    def standing(self) -> Solid:
        """The solid moved to the origin of the ground and scaled so that all things look about equally large.

        The average of height and length becomes 1 (neither alone would do: a dolphin is long and low, a camel tall),
        unless one of them would exceed ``MOST``. Raises FinstError for a solid without extent.
        """
        low, high = self.vertices.min(0), self.vertices.max(0)
        length, height = np.hypot(*(high - low)[:2]), high[2] - low[2]
        if not (np.isfinite(length + height) and length + height > 0):
            raise FinstError("a thing has no extent: expected a mesh with corners at different, finite places")
        foot = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
        scale = min(2 / (length + height), MOST / max(length, height))
        return Solid((self.vertices - foot) * scale, self.faces, self.normals)


def solid(distance: Distance, low: tuple[float, ...], high: tuple[float, ...], step: float) -> Solid:
    """The surface of a signed distance within a box, given by two corners, in triangles of size about ``step``."""
    axes = [np.arange(a - 2 * step, b + 2 * step, step) for a, b in zip(low, high, strict=True)]
    field = distance(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    vertices, faces, _, _ = extra("skimage.measure").marching_cubes(field, 0.0, spacing=(step, step, step))
    vertices = vertices + np.array([axis[0] for axis in axes])
    return Solid(vertices, faces.astype(np.int64), gradient(distance, vertices, step / 4))


def gradient(distance: Distance, points: Points, step: float) -> Points:
    """Outward unit normals: the normalised gradient of the distance."""
    ends = [distance(points + offset) - distance(points - offset) for offset in step * np.eye(3)]
    slopes = np.stack(ends, axis=-1)
    return slopes / np.maximum(np.linalg.norm(slopes, axis=-1, keepdims=True), 1e-12)


def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...], tilt: float = 0.0, turn: float = 0.0) -> Distance:
    """Approximate distance to an ellipsoid; ``tilt`` raises its front, then ``turn`` turns it to the left (degrees)."""
    axes = _turned(tilt, turn)

    def distance(points: Points) -> Float[np.ndarray, "*place"]:
        own = (points - np.array(centre)) @ axes
        near = np.linalg.norm(own / np.array(radii), axis=-1)
        slope = np.linalg.norm(own / np.array(radii) ** 2, axis=-1)
        return near * (near - 1) / np.maximum(slope, 1e-9)

    return distance


def limb(
    start: tuple[float, ...], end: tuple[float, ...], radius: float, last: float, flat: tuple[float, ...] = (1, 1, 1)
) -> Distance:
    """A rod from ``start`` to ``end`` whose radius changes to ``last``; ``flat`` divides its thickness by axis."""
    squeeze = np.array(flat, dtype=float)
    first, along = np.array(start) * squeeze, (np.array(end) - np.array(start)) * squeeze

    def distance(points: Points) -> Float[np.ndarray, "*place"]:
        own = points * squeeze - first
        share = np.clip(own @ along / (along @ along), 0, 1)
        away = np.linalg.norm(own - share[..., None] * along, axis=-1)
        return (away - radius - (last - radius) * share) / squeeze.max()

    return distance


def path(joints: list[tuple[tuple[float, ...], float]]) -> list[Distance]:
    """Limbs from joint to joint; a joint is (place, radius)."""
    return [limb(a, b, r, s) for (a, r), (b, s) in pairwise(joints)]


def blend(parts: list[Distance], softness: float) -> Distance:
    """The union of the parts and their mirror images in the plane y = 0, with seams smoothed over ``softness``."""

    def distance(points: Points) -> Float[np.ndarray, "*place"]:
        half = points * [1, 1, 1]
        half[..., 1] = abs(half[..., 1])
        whole = parts[0](half)
        for part in parts[1:]:
            other = part(half)
            near = np.maximum(softness - abs(whole - other), 0) / softness
            whole = np.minimum(whole, other) - near**2 * softness / 4
        return whole

    return distance


def extruded(outline: Float[np.ndarray, "corner 2"], half_depth: float, bevel: float) -> Distance:
    """An outline in the plane of x and z, extruded along y, with edges rounded by ``bevel``."""

    low, high = outline.min(0) - 0.1, outline.max(0) + 0.1
    across, up = (np.linspace(a, b, 128) for a, b in zip(low, high, strict=True))
    table = inside(outline, np.stack(np.meshgrid(across, up, indexing="ij"), axis=-1))
    flat_distance = extra("scipy.interpolate").RectBivariateSpline(
        across, up, table, kx=1, ky=1
    )  # the distance to the outline's many sides is computed once

    def distance(points: Points) -> Float[np.ndarray, "*place"]:
        flat = flat_distance.ev(points[..., 0], points[..., 2]) + bevel
        deep = abs(points[..., 1]) - half_depth + bevel
        rim = np.sqrt(np.maximum(flat, 0) ** 2 + np.maximum(deep, 0) ** 2)
        return np.minimum(np.maximum(flat, deep), 0) + rim - bevel

    return distance


def inside(
    outline: Float[np.ndarray, "corner 2"], points: Float[np.ndarray, "*place 2"]
) -> Float[np.ndarray, "*place"]:
    """Signed distance to a closed polygon, negative inside."""
    least, winding = np.full(points.shape[:-1], np.inf), np.zeros(points.shape[:-1], dtype=bool)
    for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        side, own = end - start, points - start
        share = np.clip(own @ side / (side @ side), 0, 1)
        least = np.minimum(least, ((own - share[..., None] * side) ** 2).sum(-1))
        crosses = (start[1] > points[..., 1]) != (end[1] > points[..., 1])
        if side[1] != 0:
            winding ^= crosses & (own[..., 0] < side[0] * own[..., 1] / side[1])
    return np.where(winding, -1, 1) * np.sqrt(least)


def _turned(tilt: float, turn: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about y by ``tilt`` and then about z by ``turn``, in degrees; columns are the rotated axes."""
    a, b = np.deg2rad(tilt), np.deg2rad(turn)
    up = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    around = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return around @ up
