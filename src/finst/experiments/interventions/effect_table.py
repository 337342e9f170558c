"""Effects of any intervention in one form, and a table of many of them: text, Markdown, CSV, plain values.

Like all reports, this module needs no model and imports no torch.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from finst.report.curves import BLUE, GREEN, ORANGE
from finst.report.figures import NamedFigure, canvas, styled
from finst.report.findings import Findings
from finst.report.page import figure_entry, side_by_side_page
from finst.report.tables import aligned
from finst.report.wording import format_p, p_heading

DOCUMENTATION = {
    "n": ("trials", "trials that the shares are of"),
    "before": ("1", "share of hits without the edit"),
    "before_low": ("1", "lower end of its Wilson interval"),
    "before_high": ("1", "upper end of its Wilson interval"),
    "after": ("1", "share of hits with the edit, same trials"),
    "after_low": ("1", "lower end of its Wilson interval"),
    "after_high": ("1", "upper end of its Wilson interval"),
    "gained": ("trials", "hits with the edit alone"),
    "lost": ("trials", "hits without the edit alone"),
    "p": ("1", "two-sided exact McNemar p of after against before"),
}
"""What is known of an effect, with units, in every summary of an intervention."""

EFFECTS = [*DOCUMENTATION]


@dataclass(frozen=True)
class Share:
    """A share of trials that are hits, with the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """``83.3% [70.4%, 91.3%]``."""
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"

    @classmethod
    def of(cls, effect: xr.Dataset, name: str) -> Share:
        """From a dataset without dims; ``name`` is ``before``, ``after`` or another share with an interval."""
        return cls(*(float(effect[part]) for part in (name, f"{name}_low", f"{name}_high")))


@dataclass(frozen=True)
class EffectRow:
    """One effect of an intervention: before and after are of the same trials, on which no setting was chosen."""

    measured: str
    """What counts as a hit, and which edit it follows."""
    setting: str
    """Such as ``K = 20, dose 2``."""
    before: Share
    after: Share
    control: Share
    """After the control edit with the largest effect."""
    control_name: str
    n: int
    """Trials."""
    p: float
    """Exact paired p of after against before."""

    @classmethod
    def of(
        cls, measured: str, setting: str, effect: xr.Dataset, controls: xr.Dataset, *, harms: bool = False
    ) -> EffectRow:
        """``effect`` holds the variables of ``DOCUMENTATION`` without dims, ``controls`` along one dim.

        The control shown has the most hits, or the fewest where an edit ``harms``.
        """
        (dim,) = controls["after"].dims
        after = controls["after"].values
        best = controls.isel({dim: int(after.argmin() if harms else after.argmax())})
        shares = (Share.of(effect, "before"), Share.of(effect, "after"), Share.of(best, "after"))
        return cls(measured, setting, *shares, str(best[dim].item()), int(effect["n"]), float(effect["p"]))

    @classmethod
    def of_top(cls, measured: str, setting: str, effects: xr.Dataset, *, harms: bool = False) -> EffectRow:
        """The strongest heads' effect beside their controls: ``effects`` have the one dim ``set``."""
        controls = effects.sel(set=effects["set"] != "top")
        return cls.of(measured, setting, effects.sel(set="top"), controls, harms=harms)


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
        """As plain values; shares as ``before``, ``before_low``, ``before_high`` and so on."""
        flat: dict[str, object] = {"model": self.model, "experiment": self.experiment}
        for name, value in asdict(self.effect).items():
            if isinstance(value, dict):
                flat |= {name: value["value"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
            else:
                flat[name] = value
        return {**flat, "run": self.run}

    @property
    def cells(self) -> tuple[str, ...]:
        """Texts of ``COLUMNS``."""
        row = self.effect
        control = f"{row.control.text} ({row.control_name})"
        texts = (row.measured, row.setting, row.before.text, row.after.text, control, str(row.n), format_p(row.p))
        return (self.model, self.experiment, *texts, self.run)


COLUMNS = ("model", "experiment", "hit", "setting", "before", "after", "control", "n", p_heading("no edit"), "run")


def text_table(rows: Sequence[EffectRecord]) -> str:
    """For the terminal."""
    return "\n".join(aligned([COLUMNS, *(row.cells for row in rows)]))


def markdown_table(rows: Sequence[EffectRecord]) -> str:
    """For a README."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def csv_table(rows: Sequence[EffectRecord]) -> str:
    """One line an effect, floats in full precision."""
    buffer = io.StringIO()
    records = [row.record for row in rows]
    writer = csv.DictWriter(buffer, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def _labels(rows: Sequence[EffectRecord]) -> list[str]:
    """With the folder's name where several effects would have the same label."""
    names = [f"{row.model}, {row.experiment}, {row.effect.setting}\n{row.effect.measured}" for row in rows]
    return [
        f"{name} ({Path(row.run).name})" if names.count(name) > 1 else name
        for name, row in zip(names, rows, strict=True)
    ]


@styled
def effects_figure(rows: Sequence[EffectRecord]) -> NamedFigure:
    """A line an effect: before, after, and after the control with the largest effect, with their intervals."""
    figure = canvas(7.2, 0.9 + 0.36 * len(rows))
    axes = figure.subplots()
    looks = (("before", BLUE, "white"), ("control", GREEN, GREEN.colour), ("after", ORANGE, ORANGE.colour))
    for place, (name, pen, face) in enumerate(looks):
        for line, row in enumerate(rows):
            share: Share = getattr(row.effect, name)
            y = line + 0.22 * (place - 1)
            label = {"control": "after the strongest control"}.get(name, name) if line == 0 else "_"
            axes.plot([share.low, share.high], [y, y], color=pen.colour, lw=1, ls=pen.line)
            axes.plot([share.value], [y], color=pen.colour, marker=pen.marker, mfc=face, ms=4, ls="", label=label)
    axes.set_yticks(range(len(rows)), _labels(rows), fontsize=6.5)
    axes.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.4, -0.6), xlabel="share of hits")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return NamedFigure(
        name="interventions",
        title="Effects of interventions",
        caption=(
            "Share of trials that are hits: without the edit (hollow), with the edit, and with the control edit that "
            "has the largest effect. All three are of the same trials, on which neither K nor dose was chosen. Bars "
            "are Wilson intervals."
        ),
        figure=figure,
        csv=csv_table(rows),
    )


def effects_page(
    rows: Sequence[EffectRecord], figure: NamedFigure, labels: Sequence[str], records: Sequence[Mapping[str, Any]]
) -> str:
    """Effects of interventions of any kind and model as one HTML page, with the records of their runs."""
    table = Findings("effects", "", (), COLUMNS, tuple(row.cells for row in rows), ())
    return side_by_side_page(
        labels,
        records,
        (),
        title="interventions",
        headline=f"{len(rows)} effects of {len(labels)} interventions",
        figures=[figure_entry(figure)],
        tables=[{"label": "Before and after on the same trials", "findings": table}],
    )
