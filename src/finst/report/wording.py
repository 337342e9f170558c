"""How findings, captions and tables write numbers, p values, intervals, counts and lists."""

# ruff: noqa: RUF001, RUF002  (typeset text: dashes and minus signs as readers expect them)
from __future__ import annotations

import re
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


def interval(low: float, high: float, decimals: int = 3) -> str:
    """``[0.200, 0.310]``; says so where there is none."""
    if np.isnan(low) or np.isnan(high):
        return "[no interval]"
    return f"[{number(low, decimals)}, {number(high, decimals)}]"


def share_interval(value: float, low: float, high: float) -> str:
    """``83.3% [70.4%, 91.3%]``; a dash for NaN."""
    return f"{share(value)} [{share(low)}, {share(high)}]"


def share(value: float) -> str:
    """``12.5%``; a dash for NaN."""
    return "–" if np.isnan(value) else f"{value:.1%}"


def of_margin(effect: float, margin: float) -> str:
    """An effect as a share of the clean margin (both in logits), such as ``2.0 % of the clean margin``.

    Says so where the margin is not known, as in runs of earlier versions, or is not positive.
    """
    share = percent(effect, margin)
    return f"{share} of the clean margin" if share else "share of the clean margin not known"


def percent(part: float, whole: float) -> str:
    """``58 %``, ``2.0 %``, ``0.3 %``; empty where the whole is not known or not positive."""
    if not (np.isfinite(part) and np.isfinite(whole) and whole > 0):
        return ""
    share = 100 * part / whole
    return f"{share:.{0 if abs(share) >= 9.95 else 1}f} %".replace("-", "−")


def counted(count: int, noun: str) -> str:
    """``1 head``, ``2 heads``, ``10,000 resamples``."""
    return f"{count:,} {plural(noun, count)}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``32 s``, ``18 min``, ``5 h``, ``3 days``."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"


def plural(noun: str, count: int) -> str:
    """The noun for so many: ``head``, ``heads``; ``query``, ``queries``."""
    if count == 1:
        return noun
    return f"{noun[:-1]}ies" if re.search("[^aeiou]y$", noun) else f"{noun}s"


def sampled(count: int, noun: str) -> str:
    """``n = 20 pairs``."""
    return f"n = {counted(count, noun)}"


def format_p(p: float) -> str:
    """``0.012``, or ``< 0.001``; a dash for NaN. For cells of a column that ``p_heading`` names."""
    return "< 0.001" if p < 0.001 else number(p)


def probability(p: float, against: str, name: str = "p") -> str:
    """``p = 0.012 against no edit``, or ``p < 0.001 against ...``: no p without what it is against."""
    value = " not defined" if np.isnan(p) else f" {format_p(p)}" if p < 0.001 else f" = {format_p(p)}"
    return f"{name}{value} against {against}"


def p_heading(against: str, name: str = "p") -> str:
    """The heading of a column of p values: ``p against no edit``."""
    return f"{name} against {against}"


def span(layers: Sequence[int]) -> str:
    """``layer 3``, ``layers 3–5``, ``layers 3–5 and 8``."""
    return f"{plural('layer', len(layers))} {runs(layers)}"


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
