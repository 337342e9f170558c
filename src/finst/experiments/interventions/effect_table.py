"""A table of the effects of many interventions: text, Markdown, CSV, plain values, a figure and a page.

Like all reports, this module needs no model and imports no torch.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finst.experiments.interventions.effect_rows import NOT_KEPT, Controls, EffectRow, Share
from finst.report.curves import AMBER, BLUE, GREEN, ORANGE
from finst.report.figures import NamedFigure, canvas, styled
from finst.report.findings import Findings
from finst.report.page import figure_entry, side_by_side_page
from finst.report.tables import aligned
from finst.report.wording import format_p

COLUMNS = (
    "model",
    "experiment",
    "hit",
    "setting",
    "n",
    "before",
    "after",
    "controls, same setting",
    "controls, own best",
    "p against no edit",
    "p against controls, same setting",
    "p against controls, own best",
    "beyond both",
    "run",
)

RULES = (
    "all shares of a line are of the same n trials; brackets are Wilson intervals, at 95 % unless alpha was set",
    "settings (K, dose) were chosen on other trials: the smallest K, then the smallest dose, of those that cannot be "
    "told from the best one there (the score interval of the paired difference holds 0)",
    "controls: the control edit that does most, at the setting of the effect, and with each at its own best: the "
    "setting that did most for it on the same choosing trials",
    "p is of McNemar's exact paired test, against what the column says; against controls the largest over all of them",
    "beyond both: each p is at most alpha, and the interval of the paired difference to each control leaves out 0",
)
"""What the columns hold."""


@dataclass(frozen=True)
class EffectRecord:
    """An effect with its model, its experiment and its run."""

    model: str
    experiment: str
    effect: EffectRow
    run: str
    """Folder."""

    @property
    def record(self) -> dict[str, object]:
        """As plain values, None for what is not known: shares as ``before``, ``before_low``, ``before_high`` and so on,
        controls as ``control``, ``control_lead_low``, ``own_p`` and so on."""
        row = self.effect
        return {
            "model": self.model,
            "experiment": self.experiment,
            "measured": row.measured,
            "setting": row.setting,
            "n": row.n,
            **_share("before", row.before),
            **_share("after", row.after),
            "p": row.p,
            **_controls("control", row.control),
            **_controls("own", row.own),
            "beyond": row.beyond,
            "run": self.run,
        }

    @property
    def cells(self) -> tuple[str, ...]:
        """Texts of ``COLUMNS``."""
        row = self.effect
        return (
            *(self.model, self.experiment, row.measured, row.setting, str(row.n), row.before.text, row.after.text),
            *(row.control.text, row.own.text if row.own else row.without_own),
            *(format_p(row.p), row.control.tested, row.own.tested if row.own else row.without_own),
            *(row.verdict, self.run),
        )


def _share(name: str, share: Share | None) -> dict[str, object]:
    value, low, high = (None, None, None) if share is None else (share.value, share.low, share.high)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _controls(name: str, controls: Controls | None) -> dict[str, object]:
    if controls is None:
        return {**_share(name, None), **dict.fromkeys(_more(name)), **_share(f"{name}_lead", None), f"{name}_p": None}
    texts = dict(zip(_more(name), (controls.name, controls.setting), strict=True))
    return {**_share(name, controls.share), **texts, **_share(f"{name}_lead", controls.lead), f"{name}_p": controls.p}


def _more(name: str) -> tuple[str, str]:
    return f"{name}_name", f"{name}_setting"


def text_table(rows: Sequence[EffectRecord]) -> str:
    """For the terminal."""
    return "\n".join(aligned([COLUMNS, *(row.cells for row in rows)]))


def markdown_table(rows: Sequence[EffectRecord]) -> str:
    """For a README: the share after an edit is bold where it is beyond both kinds of controls."""
    after = COLUMNS.index("after")
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for row in rows:
        cells = list(row.cells)
        cells[after] = f"**{cells[after]}**" if row.effect.beyond else cells[after]
        lines.append(tuple(cells))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def csv_table(rows: Sequence[EffectRecord]) -> str:
    """One line an effect, floats in full precision; empty for what is not known."""
    buffer = io.StringIO()
    records = [row.record for row in rows]
    writer = csv.DictWriter(buffer, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def _labels(rows: Sequence[EffectRecord]) -> list[str]:
    """With the folder's name where several effects would have the same label; a star where beyond both."""
    names = [f"{row.model}, {row.experiment}, {row.effect.setting}\n{row.effect.measured}" for row in rows]
    return [
        f"{'* ' if row.effect.beyond else ''}{name}{f' ({Path(row.run).name})' if names.count(name) > 1 else ''}"
        for name, row in zip(names, rows, strict=True)
    ]


@styled
def effects_figure(rows: Sequence[EffectRecord]) -> NamedFigure:
    """A line an effect: before, after, and after the controls that do most at either setting, with their intervals."""
    figure = canvas(7.2, 0.9 + 0.44 * len(rows))
    axes = figure.subplots()
    looks = {
        "before": (BLUE, "white", lambda row: row.before),
        "controls, own best": (AMBER, AMBER.colour, lambda row: row.own and row.own.share),
        "controls, same setting": (GREEN, GREEN.colour, lambda row: row.control.share),
        "after": (ORANGE, ORANGE.colour, lambda row: row.after),
    }
    for place, (label, (pen, face, share_of)) in enumerate(looks.items()):
        shown = [(line + 0.18 * (place - 1.5), share_of(row.effect)) for line, row in enumerate(rows)]
        for y, share in shown:
            if share is not None:
                axes.plot([share.low, share.high], [y, y], color=pen.colour, lw=1, ls=pen.line)
                axes.plot([share.value], [y], color=pen.colour, marker=pen.marker, mfc=face, ms=4, ls="")
        axes.plot([], [], color=pen.colour, marker=pen.marker, mfc=face, ms=4, ls="", label=label)
    axes.set_yticks(range(len(rows)), _labels(rows), fontsize=6.5)
    axes.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.4, -0.6), xlabel="share of hits")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    kept = "" if all(row.effect.beyond is not None for row in rows) else f" {NOT_KEPT}: by an older finst."
    return NamedFigure(
        name="interventions",
        title="Effects of interventions",
        caption=(
            "Share of trials that are hits: without the edit (hollow), with the edit, and with the control edits that "
            "do most, at the effect's setting and at their own best. All are of the same trials, on which "
            f"neither K nor dose was chosen. Bars are Wilson intervals. Star: beyond both kinds of controls.{kept}"
        ),
        figure=figure,
        csv=csv_table(rows),
    )


def effects_page(
    rows: Sequence[EffectRecord], figure: NamedFigure, labels: Sequence[str], records: Sequence[Mapping[str, Any]]
) -> str:
    """Effects of interventions of any kind and model as one HTML page, with the records of their runs."""
    table = Findings("effects", "", RULES, COLUMNS, tuple(row.cells for row in rows), ())
    return side_by_side_page(
        labels,
        records,
        (),
        title="interventions",
        headline=f"{len(rows)} effects of {len(labels)} interventions",
        figures=[figure_entry(figure)],
        tables=[{"label": "Before and after on the same trials", "findings": table}],
    )
