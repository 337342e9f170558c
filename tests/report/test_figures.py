"""Figures as data: the same files every time, and SVG that fits into a page."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from finst.report.curves import BLUE, above, curve, over_layers
from finst.report.example import ContextView, TrialExample
from finst.report.figures import INK, LEAST_TEXT_PX, STYLE, NamedFigure, canvas, styled, ticks
from finst.report.findings import Findings
from finst.report.page import report_page


@styled
def drawn(name: str = "a-figure") -> NamedFigure:
    figure = canvas(3, 2)
    axes = figure.subplots()
    layers = xr.DataArray([0.0, 1.0, 0.5], dims="layer", coords={"layer": [0, 1, 2]})
    curve(axes, layers, BLUE, "r", low=layers - 0.1, high=layers + 0.1, solid=layers > 0.7)
    over_layers(axes, 3)
    above(axes, 1)
    return NamedFigure(name, "Title", "Caption.", figure, "layer,r\n0,0.0\n")


def test_files_are_the_same_every_time() -> None:
    first, second = drawn(), drawn()
    assert (first.png, first.pdf, first.svg) == (second.png, second.pdf, second.svg)
    assert first.png.startswith(b"\x89PNG")
    assert first.pdf.startswith(b"%PDF")


def test_an_svg_has_the_pages_ink_and_ids_of_its_own() -> None:
    svg = drawn().svg
    assert ElementTree.fromstring(svg).tag == "svg"
    assert INK not in svg
    assert "currentColor" in svg
    ids = [element.attrib["id"] for element in ElementTree.fromstring(svg).iter() if "id" in element.attrib]
    assert ids
    assert all(name.startswith("a-figure-") for name in ids)


def test_style_is_set_while_a_function_draws() -> None:
    @styled
    def size() -> object:
        return mpl.rcParams["font.size"]

    outside = mpl.rcParams["font.size"]
    assert size() == STYLE["font.size"] != outside
    assert mpl.rcParams["font.size"] == outside


def test_curves_have_a_band_and_hollow_markers() -> None:
    figure: Figure = drawn().figure
    (axes,) = figure.axes
    filled = [line for line in axes.lines if line.get_marker() == "o" and line.get_markerfacecolor() != "white"]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [np.size(line.get_xdata()) for line in hollow] == [2]
    assert 1 in [np.size(line.get_xdata()) for line in filled]
    assert len(axes.collections) == 1
    assert axes.get_legend() is not None


@pytest.mark.parametrize(("size", "most"), [(1, 5), (6, 10), (28, 14), (80, 16), (500, 14)])
def test_ticks_are_even_and_not_too_many(size: int, most: int) -> None:
    places = ticks(size, most)
    assert places[0] == 0
    assert len(places) <= most
    assert places[-1] < size
    assert len(set(np.diff(places))) <= 1


@pytest.mark.parametrize(("width", "size"), [(7.2, 6.5), (7.2, 8.0), (3.0, 7.0)])
def test_the_smallest_text_is_at_least_nine_px_on_any_screen(width: float, size: float) -> None:
    figure = canvas(width, 2)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, "large", fontsize=12)
    axes.text(0.5, 0.5, "small", fontsize=size)
    named = NamedFigure("texts", "Title", "Caption.", figure, "a\n1\n")
    px_per_pt = named.least_px / (72 * width)
    assert LEAST_TEXT_PX <= size * px_per_pt < LEAST_TEXT_PX + 0.1
    assert f"min-width: {named.least_px}px" in render_figure(named)


def render_figure(figure: NamedFigure) -> str:
    findings = Findings("counting", "n = 2", (), ("what",), (("it",),), ())
    view = ContextView("toy", "A toy.", np.zeros((2, 2, 3), np.uint8), (), "nothing")
    return report_page(findings, [figure], TrialExample((1, 1), view, ()), {"spec": {"model": "m", "dtype": "d"}})
