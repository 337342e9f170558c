"""Textures of renders as arrays: sand, salt, wood and paint."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from finst.scenes.renders.extra import extra

Field = Float[np.ndarray, "row col"]
Colours = Float[np.ndarray, "row col 3"]
"""Reflected shares of red, green and blue light, linear."""


def noise(rng: np.random.Generator, shape: tuple[int, int], fall: float, finest: float = 0.0) -> Field:
    """Random field of mean 0 and variance 1 that repeats seamlessly.

    Amplitudes fall with the ``fall``-th power of the frequency; waves shorter than ``finest`` px are suppressed.
    """
    rows, cols = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    frequency = np.hypot(rows, cols)
    weight = np.where(frequency > 0, np.maximum(frequency, 1e-9) ** -fall, 0)
    if finest:
        weight *= np.exp(-((frequency * finest) ** 2))
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * weight, s=shape)
    return (field - field.mean()) / field.std()


def mixed(share: Field, none: tuple[float, ...], full: tuple[float, ...]) -> Colours:
    """Mixture of two colours: ``none`` where the share is 0 or less, ``full`` where it is 1 or more."""
    return np.array(none) + np.clip(share, 0, 1)[..., None] * (np.array(full) - np.array(none))


def sand(rng: np.random.Generator, side: int) -> tuple[Colours, Field]:
    """Colours and heights of dry sand; ripples run from left to right, curved and interrupted."""
    curve = noise(rng, (side, side), 2.0, finest=30)
    rows = np.arange(side)[:, None] / side
    ripples = np.sin(2 * np.pi * (60 * rows + 0.9 * curve)) * (0.55 + 0.25 * noise(rng, (side, side), 1.6, finest=60))
    grain, dunes = noise(rng, (side, side), 0.15), noise(rng, (side, side), 1.7)
    height = 0.45 * ripples + 0.7 * dunes + 0.10 * grain
    tone = 0.5 + 0.10 * ripples + 0.10 * dunes + 0.13 * grain
    return mixed(tone, (0.33, 0.24, 0.145), (0.70, 0.56, 0.39)), height


def salt(rng: np.random.Generator, side: int, cells: int) -> tuple[Colours, Field]:
    """Colours and heights of a salt crust: plates of about 1 / ``cells`` of the side, with raised rims between them."""
    seeds = (np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), -1).reshape(-1, 2) + 0.5) / cells
    seeds += rng.uniform(-0.42, 0.42, seeds.shape) / cells
    around = np.concatenate([seeds + np.array([i, j]) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    warp = np.stack([noise(rng, (side, side), 1.5, finest=4) for _ in range(2)], -1) * 0.06 / cells
    pixels = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1) / side + warp
    near, _ = extra("scipy.spatial").KDTree(around).query(pixels, k=2)
    edge = (near[..., 1] - near[..., 0]) * cells
    rim = np.exp(-((edge / 0.055) ** 2)) * (0.75 + 0.25 * noise(rng, (side, side), 0.8))
    grain, wide = noise(rng, (side, side), 0.3), noise(rng, (side, side), 1.6)
    tone = 0.5 + 0.09 * wide + 0.03 * grain + 0.55 * rim - 0.4 * np.exp(-(((edge - 0.13) / 0.06) ** 2))
    return mixed(tone, (0.40, 0.375, 0.34), (0.82, 0.80, 0.77)), 1.6 * rim + 0.05 * grain + 0.3 * wide


def parquet(rng: np.random.Generator, side: int, planks: int) -> Colours:
    """Boards from the front to the back, ``planks`` across, each of its own tone and grain."""
    width = side // planks
    image = np.zeros((side, width * planks, 3))
    fibre = noise(rng, (side, width * planks), 0.1)
    fibre = np.stack([np.convolve(np.tile(column, 2), np.ones(96) / 8, "same")[:side] for column in fibre.T], 1)
    for plank in range(planks):
        cols = slice(plank * width, (plank + 1) * width)
        for start, end in _lengths(rng, side):
            tone = 0.5 + 0.2 * rng.standard_normal() + 0.11 * np.roll(fibre[:, cols], int(rng.integers(side)), 0)
            board = mixed(tone[start:end], (0.16, 0.075, 0.032), (0.42, 0.235, 0.115))
            board[:3] *= 0.35
            board[:, :2] *= 0.35
            image[start:end, cols] = board
    return image


def _lengths(rng: np.random.Generator, side: int) -> list[tuple[int, int]]:
    """Ends of the boards of one row of planks."""
    cut = int(rng.integers(side // 4, 3 * side // 4))
    return [(0, cut), (cut, side)]


def painting(rng: np.random.Generator, height: int, width: int) -> Colours:
    """A hazy landscape in browns and blues, less saturated than the things' colours."""
    rows = np.linspace(0, 1, height)[:, None] + 0.04 * noise(rng, (height, width), 1.2)
    sky = mixed(rows * 1.6 + 0.12 * noise(rng, (height, width), 1.5), (0.16, 0.24, 0.34), (0.62, 0.55, 0.42))
    land = mixed(0.5 + 0.3 * noise(rng, (height, width), 1.3), (0.06, 0.05, 0.035), (0.26, 0.20, 0.11))
    ridge = float(rng.uniform(0.5, 0.68)) + 0.07 * noise(rng, (1, width), 1.6)
    return np.where((rows > ridge)[..., None], land, sky)


def shore(rng: np.random.Generator, rows: int, cols: int) -> Colours:
    """A shore from dry sand (last row) over wet sand and foam to shallow water (first row)."""
    line = 0.42 + 0.035 * noise(rng, (1, cols), 1.6, finest=8) + 0.012 * noise(rng, (rows, cols), 0.9)
    depth = line - np.linspace(0, 1, rows)[:, None]
    wet = mixed((0.42 - abs(depth)) / 0.3, (0.50, 0.385, 0.25), (0.24, 0.175, 0.115))
    water = mixed(depth / 0.4, (0.16, 0.27, 0.25), (0.03, 0.13, 0.165))
    foam = np.exp(-((depth / 0.028) ** 2)) + 0.55 * np.exp(-(((depth - 0.17) / 0.03) ** 2))
    foam *= np.clip(0.75 + 0.35 * noise(rng, (rows, cols), 0.7), 0, 1)
    return np.clip(np.where((depth > 0)[..., None], water, wet) + foam[..., None] * 0.6, 0, 0.85)
