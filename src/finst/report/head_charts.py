"""Maps of all heads and charts of one head's samples for a page that is explored in a browser, drawn by Bokeh.

Importing Bokeh takes a second, so pages import this module when they are drawn. All floats reach the page as float32
(24 binary digits, the precision of a score that a model in float32 gives), counts as 32-bit integers, in base64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from bokeh.embed import components
from bokeh.models import (
    BasicTicker,
    BooleanFilter,
    BoxAnnotation,
    CDSView,
    ColorBar,
    ColumnDataSource,
    CustomJSHover,
    DataRange1d,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    Plot,
    Range1d,
    Span,
    TapTool,
)
from bokeh.plotting import figure
from bokeh.resources import Resources
from jaxtyping import Float
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.colors import to_hex

from finst.report.stage_scores import StageScores

MAP_COLOURS = tuple(to_hex(colormaps["RdBu_r"](share)) for share in np.linspace(0, 1, 255))
"""From the most negative score to the most positive, as in the report's figures."""

CELL_PX, LEAST_PX, MOST_PX = 15, 150, 480
"""Height of a row of heads, and of a map without its axis and colour bar."""

STATISTICS = ("mean", "standard_error", "ci_low", "ci_high", "p_fwer", "rank", "above")
"""The columns of each stage in the source ``heads``, named STATISTIC_STAGE."""


@dataclass(frozen=True)
class Charts:
    """What a page needs to show the charts; ``src/finst/experiments/cma/templates/heads.js`` drives them."""

    library: Markup
    """Bokeh's script, without which nothing is drawn; it loads nothing."""
    script: Markup
    maps: Mapping[str, Markup]
    """The place of each stage's map of heads."""
    samples: Mapping[str, Markup]
    """The place of each stage's chart of the samples of one head."""


def head_charts(stages: Sequence[StageScores], samples: Sequence[str]) -> Charts:
    """A map and a chart for each stage; ``samples`` says what each sample is."""
    heads = ColumnDataSource(name="heads", data=_head_columns(stages))
    chosen = ColumnDataSource(name="chosen", data={"layer": [0], "head": [0]})
    scores = ColumnDataSource(name="scores", data={stage.key: _by_head(stage.scores) for stage in stages})
    maps = {f"map_{stage.key}": _map(stage, heads, chosen) for stage in stages}
    charts = {f"samples_{stage.key}": _samples(stage, samples) for stage in stages}
    # The scores have no glyph: as a tag of a map they travel with it.
    next(iter(maps.values())).tags = [scores]
    script, places = components({**maps, **charts})
    return Charts(
        Markup("\n".join(Resources(mode="inline", components=["bokeh"], log_level="error").js_raw)),
        Markup(script),
        *({stage.key: Markup(places[f"{kind}_{stage.key}"]) for stage in stages} for kind in ("map", "samples")),
    )


def _head_columns(stages: Sequence[StageScores]) -> dict[str, np.ndarray]:
    """Columns over all heads, layer by layer."""
    layers, heads = stages[0].mean.shape
    layer, head = np.divmod(np.arange(layers * heads, dtype=np.int32), heads)
    columns = {"layer": layer, "head": head}
    for stage in stages:
        for name in STATISTICS:
            columns[f"{name}_{stage.key}"] = _compact(getattr(stage, name).ravel())
    return columns


def _by_head(scores: Float[np.ndarray, "sample layer head"]) -> Float[np.ndarray, "value"]:
    """All samples of the first head, then those of the next."""
    return _compact(np.moveaxis(scores, 0, -1).ravel())


def _compact(values: np.ndarray) -> np.ndarray:
    """The values in a format that Bokeh sends as base64."""
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int32)


def _map(stage: StageScores, heads: ColumnDataSource, chosen: ColumnDataSource) -> Plot:
    """Layers along x and heads along y, from the top; the colour is the mean score."""
    layers, count = stage.mean.shape
    limit = float(np.nanmax(abs(stage.mean), initial=0.0)) or 1.0
    plot = figure(
        name=f"map-{stage.key}",
        x_range=Range1d(start=-0.5, end=layers - 0.5),
        y_range=Range1d(start=count - 0.5, end=-0.5),
        x_axis_label="layer",
        y_axis_label="head",
        height=int(np.clip(CELL_PX * count, LEAST_PX, MOST_PX)) + 95,
        **_FRAME,
    )
    for axis in plot.axis:
        axis.ticker = BasicTicker(mantissas=[1, 2, 5], min_interval=1, num_minor_ticks=0, desired_num_ticks=7)
    colours = LinearColorMapper(palette=MAP_COLOURS, low=-limit, high=limit, nan_color="#00000000")
    cell: dict[str, Any] = {"x": "layer", "y": "head", "width": 1, "height": 1}
    cells = plot.rect(
        **cell,
        source=heads,
        view=CDSView(filter=BooleanFilter(name=f"shown-{stage.key}")),
        fill_color={"field": f"mean_{stage.key}", "transform": colours},
        line_color="#e3e6ea",
        line_width=0.4,
    )
    cells.selection_glyph = cells.nonselection_glyph = cells.glyph
    outlines = CDSView(filter=BooleanFilter(name=f"outlined-{stage.key}"))
    outlined = plot.rect(**cell, source=heads, view=outlines, fill_color=None, line_color="#000000", line_width=1.1)
    outlined.selection_glyph = outlined.nonselection_glyph = outlined.glyph
    plot.rect(**cell, source=chosen, fill_color=None, line_color="#ffffff", line_width=5)
    plot.rect(**cell, source=chosen, fill_color=None, line_color="#000000", line_width=2.4)
    plot.add_tools(TapTool(renderers=[cells]), _hover(cells, "layer", "finstHeads.headText(special_vars.index)"))
    bar = ColorBar(
        color_mapper=colours,
        ticker=FixedTicker(ticks=[-limit, 0, limit]),
        title="mean score (logits)",
        title_text_font_style="normal",
        height=9,
        width=150,
        padding=4,
        background_fill_color=None,
    )
    plot.add_layout(bar, "below")
    return plot


def _samples(stage: StageScores, samples: Sequence[str]) -> Plot:
    """The score of one head in every sample, with their mean and its interval; hollow: samples that are not used."""
    count = len(samples)
    source = ColumnDataSource(
        name=f"samples-{stage.key}",
        data={
            "sample": np.arange(count, dtype=np.int32),
            "score": np.full(count, np.nan, dtype=np.float32),
            "opacity": stage.used.astype(np.float32),
            "text": list(samples),
        },
    )
    plot = figure(
        name=f"samples-chart-{stage.key}",
        x_axis_label="pair",
        y_axis_label="score (logits)",
        x_range=Range1d(start=-0.7, end=count - 0.3),
        y_range=DataRange1d(range_padding=0.12),
        height=240,
        **_FRAME,
    )
    plot.xaxis.ticker = BasicTicker(mantissas=[1, 2, 5], min_interval=1, num_minor_ticks=0)
    plot.yaxis.ticker = BasicTicker(num_minor_ticks=0)
    points = plot.scatter(
        "sample",
        "score",
        source=source,
        marker=stage.marker,
        size=6,
        fill_color=stage.colour,
        fill_alpha="opacity",
        line_color=stage.colour,
    )
    plot.add_layout(Span(location=0, dimension="width", line_color="#8a929e", line_width=1, level="underlay"))
    mean = Span(name=f"mean-{stage.key}", location=0, dimension="width", line_color=stage.colour, line_width=1.6)
    band: dict[str, Any] = {"fill_color": stage.colour, "fill_alpha": 0.22, "line_color": None, "level": "underlay"}
    plot.add_layout(BoxAnnotation(name=f"interval-{stage.key}", **band))
    plot.add_layout(mean)
    plot.add_tools(_hover(points, "sample", f'finstHeads.sampleText("{stage.key}", special_vars.index)'))
    return plot


_FRAME: dict[str, Any] = {
    "tools": "",
    "toolbar_location": None,
    "sizing_mode": "stretch_width",
    "min_width": 240,
    "background_fill_color": None,
    "border_fill_color": None,
    "outline_line_color": None,
}
"""Transparent, as wide as its place, and without tools that would keep a finger from scrolling the page."""


def _hover(renderer: Any, column: str, text: str) -> HoverTool:
    """Shows a text that the page's script makes."""
    box = "max-width: min(19rem, 42vw); white-space: pre-line; font: 13px/1.4 sans-serif"
    return HoverTool(
        renderers=[renderer],
        tooltips=f'<div style="{box}; color: #1b2028; background: #ffffff">@{column}{{custom}}</div>',
        formatters={f"@{column}": CustomJSHover(code=f"return {text}")},
    )
