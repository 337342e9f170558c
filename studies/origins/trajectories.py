"""The second figure: when each stage comes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from finst.report.wording import NAMES, capital, counted
from studies.origins.figures import bare, logits, png, shown
from studies.origins.lineages import FEW_COLOURS, LLAVA, LONGEST, SHORT, Lineage, lineages
from studies.origins.names import PLACEMENTS, STAGES
from studies.origins.rows import Row
from studies.origins.tables import TURNS

LOOKS: Mapping[str, tuple[str, str]] = {
    SHORT: ("#8c8c8c", "o"),
    FEW_COLOURS: ("#CC79A7", "D"),
    LONGEST: ("#0072B2", "s"),
    LLAVA: ("#D55E00", "^"),
}
"""Colour and mark of a lineage."""

DASHES = ("-", "--", ":")
"""Of the longest lineages, so that each can be followed."""

ACCURACIES = ("next, low entropy", "next, high entropy")
STEERED = ("id_retrieval", "id_selection")


def when_figure(path: Sequence[Row]) -> bytes:
    """Stages, accuracy and steering over steps, a line a lineage; filled marks are above the noise."""
    found = lineages(path)
    longest = [lineage.name for lineage in found if lineage.kind == LONGEST]
    dashes = defaultdict(lambda: "-", zip(longest, cycle(DASHES), strict=False))
    figure = Figure(figsize=(8.6, 10.2), layout="constrained")
    panels = figure.subplots(5, 2, sharex=True, sharey="row")
    for axes, stage in zip(panels[:3], STAGES, strict=True):
        for panel, placement in zip(axes, PLACEMENTS, strict=True):
            for lineage in found:
                column = f"{placement} {stage}"
                values = [shown(row[f"{column} logits"]) for row in lineage.checkpoints]
                _line(panel, lineage, values, dashes[lineage.name], f"{column} above")
            logits(panel, "y")
            panel.set_title(f"{capital(NAMES[stage])}, {TURNS[placement]}’s turn", fontsize=9, loc="left")  # noqa: RUF001
        axes[0].set_ylabel(f"strongest head, logits\n({_sizes(path, f'prefill {stage} n')} pairs)", fontsize=8.5)
    for panel, lessons in zip(panels[3], ACCURACIES, strict=True):
        for lineage in found:
            _line(panel, lineage, [100 * row[lessons] for row in lineage.checkpoints], dashes[lineage.name])
        panel.set_title(f"Next object in reading order, {lessons.partition(', ')[2]}", fontsize=9, loc="left")
    panels[3][0].set_ylabel(f"lessons right, %\n({_sizes(path, f'{ACCURACIES[0]} n')} lessons)", fontsize=8.5)
    for panel, stage in zip(panels[4], STEERED, strict=True):
        for lineage in found:
            values = [100 * beyond_control(row, stage) for row in lineage.checkpoints]
            _line(panel, lineage, values, dashes[lineage.name])
        panel.set_title(f"Steering of {NAMES[stage]}", fontsize=9, loc="left")
        panel.axhline(0, color="#444444", lw=0.7)
        panel.set_xlabel("steps", fontsize=8.5)
    panels[4][0].set_ylabel(
        f"moved beyond the best control,\n% of {_sizes(path, f'steering {STEERED[0]} n')} pictures", fontsize=8.5
    )
    for panel in panels.flat:
        panel.set_xscale("log")
        panel.set_xlim(85, 65_000)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        bare(panel)
    for kind, (colour, mark) in LOOKS.items():
        names = [lineage.name for lineage in found if lineage.kind == kind]
        labels = {f"{kind}: {name}": dashes[name] for name in names} if kind == LONGEST else {}
        for label, dash in (labels or {f"{kind} ({counted(len(names), 'run')})": "-"}).items():
            panels[0][0].plot([], [], dash, color=colour, marker=mark, ms=4, lw=1.3, label=label)
    figure.legend(fontsize=8, frameon=False, ncols=2, loc="outside upper center")
    return png(figure, dpi=125)


def _sizes(path: Sequence[Row], column: str) -> str:
    """``30``, or ``40 or 60``."""
    return " or ".join(str(n) for n in sorted({row[column] for row in path if row[column]}))


def beyond_control(row: Row, stage: str) -> float:
    """The share that the edit moves, minus that of the best control at its own best; NaN where none was measured."""
    after, control = (row[f"steering {stage} {name}"] for name in ("after", "control_own"))
    return math.nan if after is None else after - control


def _line(panel: Axes, lineage: Lineage, values: Sequence[float], dash: str, above: str | None = None) -> None:
    colour, mark = LOOKS[lineage.kind]
    steps = [row["step"] for row in lineage.checkpoints]
    thin = lineage.kind == SHORT
    panel.plot(steps, values, dash, color=colour, lw=0.8 if thin else 1.3, alpha=0.7 if thin else 0.9)
    for step, value, row in zip(steps, values, lineage.checkpoints, strict=True):
        face = colour if above is None or row[above] else "white"
        panel.plot([step], [value], mark, color=colour, mfc=face, ms=3.6, mew=0.8)


def when_rows(path: Sequence[Row]) -> list[Row]:
    """The numbers of ``when_figure``: a row a checkpoint."""
    return [
        {
            "lineage": lineage.name,
            "kind": lineage.kind,
            "training": row["name"],
            "steps": row["step"],
            **{
                f"{placement} {stage} {name}": row[f"{placement} {stage} {name}"]
                for placement in PLACEMENTS
                for stage in STAGES
                for name in ("logits", "low", "high", "above", "n")
            },
            **{name: row[name] for lessons in ACCURACIES for name in (lessons, f"{lessons} n")},
            **{
                f"steering {stage} {name}": row[f"steering {stage} {name}"]
                for stage in STEERED
                for name in ("after", "control", "control_own", "n")
            },
        }
        for lineage in lineages(path)
        for row in lineage.checkpoints
    ]
