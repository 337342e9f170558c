"""Figures as data: a matplotlib figure with its name, its caption and the table of what it shows."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from jaxtyping import Int
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

INK = "#1b2028"
"""Colour of text and axes; in a page it becomes the page's text colour."""

FAINT = "#8a929e"
"""Colour of grid lines and marks in the background, legible on white and on black."""

LEAST_TEXT_PX = 9.0
"""The smallest text of a figure on any screen, in CSS px."""

STYLE: Mapping[str, object] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "finst",
}


P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Runs a drawing function with finst's matplotlib style."""

    @wraps(draw)
    def with_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
            return draw(*args, **kwargs)

    return with_style


@dataclass(frozen=True, eq=False)
class NamedFigure:
    """A figure with its caption and its numbers."""

    name: str
    """The name of its files, unique in a report."""
    title: str
    caption: str
    figure: Figure
    csv: str
    """One row per mark of the figure, with a header; floats in full precision."""

    def __post_init__(self) -> None:
        # The layout would move a little with every drawing, and two renderings of one figure would differ.
        with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
            self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    @property
    def least_px(self) -> int:
        """The width in CSS px at which the smallest text is ``LEAST_TEXT_PX`` high; pages show it no narrower."""
        texts = [text for text in self.figure.findobj(Text) if text.get_visible() and text.get_text().strip()]  # pyright: ignore
        smallest = min((float(text.get_fontsize()) for text in texts), default=LEAST_TEXT_PX)
        return math.ceil(72 * self.figure.get_figwidth() * LEAST_TEXT_PX / smallest)

    @cached_property
    def png(self) -> bytes:
        """PNG on white, 200 pixels per inch."""
        buffer = io.BytesIO()
        with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
            self.figure.savefig(buffer, format="png", dpi=200, facecolor="white", metadata={"Software": "finst"})
        return buffer.getvalue()

    @cached_property
    def pdf(self) -> bytes:
        """PDF for papers: vectors, text as text, the same bytes every time."""
        buffer = io.BytesIO()
        no_metadata = {"CreationDate": None, "Creator": None, "Producer": None}
        with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
            self.figure.savefig(buffer, format="pdf", metadata=no_metadata)
        return buffer.getvalue()

    @cached_property
    def svg(self) -> str:
        """An ``<svg>`` element for a page: no background, ink in the page's text colour, ids under its name."""
        buffer = io.StringIO()
        no_metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
            self.figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
        element = buffer.getvalue().partition("<svg")[2]
        element = re.sub(r' (?:xmlns(?::\w+)?|version)="[^"]*"', "", "<svg" + element)
        element = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", element, flags=re.DOTALL)
        element = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{self.name}-", element)
        return element.replace("xlink:href", "href").replace(INK, "currentColor").strip()


def canvas(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, outside pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def ticks(size: int, most: int) -> Int[np.ndarray, "tick"]:
    """At most ``most`` evenly spaced whole numbers from 0, below ``size``."""
    step = next(step for step in (1, 2, 4, 5, 10, 20, 50, 100, size) if size <= step * most)
    return np.arange(0, size, step)
