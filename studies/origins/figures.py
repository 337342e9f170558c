"""The two figures: what causes each stage, and when each comes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from studies.origins.plan import LAYERS, LEAVE_ONE_OUT, PLACES
from studies.origins.rows import Row

NAMES = {"id_retrieval": "ID retrieval", "id_selection": "ID selection", "feature_retrieval": "feature retrieval"}

COLOURS = {"id_retrieval": "#0072B2", "id_selection": "#D55E00", "feature_retrieval": "#009E73"}

MARKS = {"prefill": "o", "user_turn": "s"}

LEAST = 0.01
"""Logits below this are drawn there: the scale is logarithmic."""


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=200, facecolor="white", metadata={"Software": "finst"})
    return buffer.getvalue()


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)


def causes_figure(rows: Sequence[Row]) -> bytes:
    """Every training's strongest head of each stage, by cell; filled where it is above the noise. PNG.

    Cells of the factorial come first, then all other groups.
    """
    cells = [f"{a}-{b}-{c}" for c in LAYERS for a in LEAVE_ONE_OUT for b in PLACES]
    groups = [group for group in dict.fromkeys([*cells, *(row["group"] for row in rows)]) if _has(rows, group)]
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    panels = figure.subplots(len(NAMES), 1, sharex=True)
    for axes, (stage, name) in zip(panels, NAMES.items(), strict=True):
        for place, group in enumerate(groups):
            for row in (row for row in rows if row["group"] == group):
                for shift, (placement, mark) in zip((-0.15, 0.15), MARKS.items(), strict=True):
                    logits, above = (row[f"{placement} {stage} {what}"] for what in ("logits", "above"))
                    if logits is not None:
                        x, face = place + shift + 0.04 * (row["seed"] - 1), COLOURS[stage] if above else "white"
                        axes.plot([x], [max(LEAST, logits)], mark, color=COLOURS[stage], mfc=face, ms=4)
        axes.set(yscale="log", ylabel="strongest head, logits", ylim=(LEAST / 1.3, 30))
        axes.set_title(name, loc="left", fontsize=9)
        axes.grid(axis="y", lw=0.4, alpha=0.5)
        _bare(axes)
    panels[-1].set_xticks(range(len(groups)), [group.replace("-", "\n") for group in groups], fontsize=7)
    for placement, mark in MARKS.items():
        panels[0].plot([], [], mark, color="black", label=placement.replace("_", "'s ").replace("users", "user's"))
    panels[0].legend(fontsize=7, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return _png(figure)


def _has(rows: Sequence[Row], group: str) -> bool:
    return any(row["group"] == group for row in rows)


TRACKS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "strongest head, logits": tuple((NAMES[stage], f"prefill {stage} logits", COLOURS[stage]) for stage in NAMES),
    "share steered": tuple((NAMES[stage], f"steering {stage} after", COLOURS[stage]) for stage in NAMES),
    "similarity, largest r": (
        ("position, commas", "similarity position at commas r", "#0072B2"),
        ("position, last token", "similarity position at last r", "#D55E00"),
        ("features, last token", "similarity features at last r", "#009E73"),
    ),
    "lessons right": (
        ("next in reading order", "next in reading order", "#0072B2"),
        ("questions", "questions", "#D55E00"),
        ("lists", "lists", "#009E73"),
        ("low entropy, 5-9", "description, 5-9 objects, low entropy", "#AA4499"),
        ("high entropy, 5-9", "description, 5-9 objects, high entropy", "#E69F00"),
    ),
}
"""Panels: (label, column, colour) of each curve."""


SHARES = ("share steered", "lessons right")


def trajectory_figure(rows: Sequence[Row]) -> bytes:
    """Everything over steps on a log scale, a thin line a seed and a thick one for their mean. PNG."""
    figure = Figure(figsize=(7.2, 8.0), layout="constrained")
    panels = figure.subplots(len(TRACKS), 1, sharex=True)
    for axes, (title, tracks) in zip(panels, TRACKS.items(), strict=True):
        for label, column, colour in tracks:
            known = [row for row in rows if row.get(column) is not None]
            for name in dict.fromkeys(row["name"] for row in known):
                points = sorted((row["step"], row[column]) for row in known if row["name"] == name)
                axes.plot(*zip(*points, strict=True), color=colour, lw=0.6, alpha=0.5)
            steps = sorted({row["step"] for row in known})
            means = [np.mean([row[column] for row in known if row["step"] == step]) for step in steps]
            axes.plot(steps, means, color=colour, lw=1.8, marker="o", ms=2.5, label=label)
        axes.set_title(title, loc="left", fontsize=9)
        axes.set(xscale="log", **({"ylim": (-0.03, 1.03)} if title in SHARES else {}))
        axes.legend(fontsize=7, frameon=False, loc="upper left")
        _bare(axes)
    panels[-1].set_xlabel("steps", fontsize=8)
    return _png(figure)
