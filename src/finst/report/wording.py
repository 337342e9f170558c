"""How findings, captions and tables write numbers, p values and lists."""

# ruff: noqa: RUF001, RUF002  (typeset text: dashes and minus signs as readers expect them)
from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr

NAMES = {"id_retrieval": "ID retrieval", "id_selection": "ID selection", "feature_retrieval": "feature retrieval"}
"""The stages as the paper calls them."""


def capital(text: str) -> str:
    """The text with its first letter in upper case and the others as they are."""
    return text[:1].upper() + text[1:]


def number(value: float, decimals: int = 3) -> str:
    """``value`` with this many decimals and a true minus sign; powers of ten below 0.0005, a dash for NaN."""
    if np.isnan(value):
        return "–"
    if value and abs(value) < 5e-4:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa}·10{power}".replace("-", "−")
    return f"{value:.{decimals}f}".replace("-", "−")


def percent(share: float) -> str:
    """``12.5%``; a dash for NaN."""
    return "–" if np.isnan(share) else f"{share:.1%}"


def format_p(p: float) -> str:
    """``0.012``, or ``< 0.001``; a dash for NaN."""
    return "< 0.001" if p < 0.001 else number(p)


def probability(p: float, name: str = "p") -> str:
    """``p = 0.012``, or ``p < 0.001``."""
    if np.isnan(p):
        return f"{name} not defined"
    return f"{name} {format_p(p)}" if p < 0.001 else f"{name} = {format_p(p)}"


def span(layers: Sequence[int]) -> str:
    """``layer 3``, ``layers 3–5``, ``layers 3–5 and 8``."""
    return f"layer{'' if len(layers) == 1 else 's'} {runs(layers)}"


def runs(layers: Sequence[int]) -> str:
    """``3``, ``3–5``, ``3–5 and 8``; empty for none."""
    ends: list[list[int]] = []
    for layer in layers:
        if ends and layer == ends[-1][1] + 1:
            ends[-1][1] = layer
        else:
            ends.append([layer, layer])
    return listed(f"{a}" if a == b else f"{a}–{b}" for a, b in ends)


def listed(items: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``; empty for none."""
    *head, tail = [*items] or [""]
    return f"{', '.join(head)} and {tail}" if head else tail


def level_of(summary: xr.Dataset) -> str:
    """The level of all intervals, such as ``95 %``."""
    return f"{100 * (1 - summary.attrs['alpha']):.3g} %"
