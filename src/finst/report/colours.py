"""Colours as numbers: mixtures in linear light, and contrast as the Web Content Accessibility Guidelines define it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_rgb

RGB = Float[np.ndarray, "*any rgb=3"]
"""Red, green and blue in [0, 1], as screens take them (sRGB)."""

PAPER, DARK_PAPER = "#ffffff", "#14181d"
"""The background of a page in its light and in its dark theme."""

WEIGHTS = (0.2126, 0.7152, 0.0722)
"""Shares of red, green and blue in luminance (WCAG 2.2)."""


def linear(colours: RGB) -> RGB:
    """Intensities of light of sRGB values."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def screen(intensities: RGB) -> RGB:
    """sRGB values of intensities of light."""
    return np.where(intensities <= 0.0031308, intensities * 12.92, 1.055 * intensities ** (1 / 2.4) - 0.055)


def mixed(shares: Float[np.ndarray, "*any hue"], hues: tuple[str, ...]) -> RGB:
    """White where all shares are 0, a hue where its share alone is 1; several hues mix in the proportion of shares.

    The largest share is the intensity. Light is mixed, not ink, so that no mixture is darker than its darkest hue.
    """
    lights = linear(np.array([to_rgb(hue) for hue in hues]))
    total = shares.sum(axis=-1, keepdims=True)
    pure = np.divide(shares @ lights, total, out=np.ones((*shares.shape[:-1], 3)), where=total > 0)
    depth = shares.max(axis=-1, keepdims=True)
    return np.clip(1 - depth * (1 - screen(pure)), 0.0, 1.0)


def contrast(first: str | RGB, second: str | RGB) -> float:
    """The contrast ratio of two colours, from 1 to 21."""
    lights = [linear(np.asarray(to_rgb(colour))) @ np.array(WEIGHTS) for colour in (first, second)]  # pyright: ignore
    return float((max(lights) + 0.05) / (min(lights) + 0.05))
