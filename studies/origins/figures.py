"""What both figures share, and the first: what brings each stage."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

from finst.report.wording import NAMES, capital, counted
from studies.origins.evidence import places_of, steps_in_all
from studies.origins.names import PLACEMENTS, STAGES
from studies.origins.rows import Row
from studies.origins.tables import ARCHITECTURES, TURNS

COLOURS: Mapping[str, str] = {"id_retrieval": "#0072B2", "id_selection": "#D55E00", "feature_retrieval": "#009E73"}
MARKS: Mapping[str, str] = {"prefill": "o", "user_turn": "s"}

LEAST, MOST = 0.003, 20.0
"""Ends of the axis of logits. What is less is drawn at its end: the scale is logarithmic."""

CAPTIONS: Mapping[str, str] = {
    "never": "last object never named",
    "binding": "last object never named",
    "some": "last object sometimes named",
    "counting": "last object always named",
}
"""Whether captions come to the last object, by how a mix's name begins."""

TOKENS: Mapping[str, str] = {"mixed": "places mixed", "apart": "places apart", "none": "no places"}
"""Where nouns have a place token."""


def png(figure: Figure, dpi: int = 150) -> bytes:
    """With a palette of 48 colours, small enough for a page of documentation."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(drawn, format="png", dpi=dpi, facecolor="white")
    Image.open(drawn).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(packed, format="png", optimize=True)
    return packed.getvalue()


def bare(axes: Axes) -> None:
    """Two spines, small tick labels, a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(lw=0.4, alpha=0.4)


def logits(axis: Axes, which: str) -> None:
    """A logarithmic axis of logits, with plain numbers."""
    (axis.set_xscale if which == "x" else axis.set_yscale)("log")
    (axis.set_xlim if which == "x" else axis.set_ylim)(LEAST / 1.25, MOST)
    ticks = axis.xaxis if which == "x" else axis.yaxis
    ticks.set_major_locator(FixedLocator([0.01, 0.1, 1.0, 10.0]))
    ticks.set_minor_locator(NullLocator())
    ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def shown(value: float) -> float:
    """The value, or the end of the axis."""
    return max(LEAST, value)


def cell_of(row: Row) -> str:
    """What was varied, as the axis says it."""
    captions = row["mix"].partition("-")[0]
    colours = "" if row["low_entropy"] is None else f", {100 * row['low_entropy']:.0f} % low entropy"
    recipe = f"{CAPTIONS.get(captions, captions)}, {TOKENS[places_of(row['mix'])]}"
    return f"{recipe}\n{ARCHITECTURES[row['family']]}, {steps_in_all(row):,} steps{colours}"


def by_cell(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Trainings with the same recipe, the shortest first."""
    cells: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (steps_in_all(row), row["family"] != "qwen2_vl")):
        cells.setdefault(cell_of(row), []).append(row)
    return cells


def causes_figure(rows: Sequence[Row]) -> bytes:
    """Every training's strongest head of each stage with its interval, by cell; filled where it is above the noise."""
    cells = by_cell(rows)
    figure = Figure(figsize=(8.6, 1.3 + 0.46 * len(cells)), layout="constrained")
    panels = figure.subplots(1, len(STAGES), sharey=True)
    for axes, stage in zip(panels, STAGES, strict=True):
        for place, part in enumerate(cells.values()):
            for number, row in enumerate(part):
                for placement, shift in zip(PLACEMENTS, (-0.07, 0.07), strict=True):
                    height = place + shift + 0.3 * (number - (len(part) - 1) / 2)
                    _run(axes, row, f"{placement} {stage}", height, MARKS[placement], COLOURS[stage])
        logits(axes, "x")
        axes.set_title(capital(NAMES[stage]), fontsize=9, loc="left")
        bare(axes)
        for edge in range(1, len(cells)):
            axes.axhline(edge - 0.5, color="#cccccc", lw=0.6)
    labels = [f"{cell}, {counted(len(part), 'run')}" for cell, part in cells.items()]
    panels[0].set_yticks(range(len(cells)), labels, fontsize=7.5)
    panels[0].set_ylim(len(cells) - 0.5, -0.5)
    for placement, mark in MARKS.items():
        turn = f"sentence in the {TURNS[placement]}’s turn"  # noqa: RUF001 (typeset)
        panels[1].plot([], [], mark, color="#444444", ms=5, ls="none", label=turn)
    panels[1].plot([], [], "o", color="#444444", mfc="white", ms=5, ls="none", label="open: not above the noise")
    figure.legend(fontsize=8, frameon=False, ncols=3, loc="outside upper center")
    figure.supxlabel(
        f"strongest head, logits, with its 95 % interval over pairs of pictures ({LEAST} or less at the left edge)",
        fontsize=8.5,
    )
    return png(figure)


def _run(axes: Axes, row: Row, column: str, height: float, mark: str, colour: str) -> None:
    value, low, high = (row[f"{column} {name}"] for name in ("logits", "low", "high"))
    if value is None:
        return
    if low is not None and high is not None:
        axes.plot([shown(low), shown(high)], [height, height], color=colour, lw=0.9, alpha=0.6)
    face = colour if row[f"{column} above"] else "white"
    axes.plot([shown(value)], [height], mark, color=colour, mfc=face, ms=4, mew=0.9)


def causes_rows(rows: Sequence[Row]) -> list[Row]:
    """The numbers of ``causes_figure``: a row a point."""
    return [
        {
            "cell": cell.replace("\n", "; "),
            "training": row["name"],
            "placement": placement,
            "stage": stage,
            **{name: row[f"{placement} {stage} {name}"] for name in ("logits", "low", "high", "above", "n")},
        }
        for cell, part in by_cell(rows).items()
        for row in part
        for placement in PLACEMENTS
        for stage in STAGES
    ]
