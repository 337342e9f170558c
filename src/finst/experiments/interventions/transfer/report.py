"""Figure and account of ``transfer``: IDs of every task in every other."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from finst.experiments.interventions.effect_table import EffectRow
from finst.experiments.interventions.figures import EFFECT_COLUMNS, EFFECTS, effect_row, share_of, tested
from finst.report.figures import FAINT, INK, STYLE, NamedFigure, canvas
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import NAMES, capital, format_p, probability

POOLS = {"within": "IDs of the same task", "across": "IDs of another task"}


def transfer_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims stage, source, target, set, group."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return (matrices(summary),)


def matrices(summary: xr.Dataset) -> NamedFigure:
    """A panel a stage: sources down, targets across."""
    stages, count = summary["stage"].values.tolist(), summary.sizes["source"]
    figure = canvas(7.2, 1.5 + 0.36 * count)
    for axes, stage in zip(figure.subplots(1, len(stages), sharey=True), stages, strict=True):
        _matrix(axes, summary.sel(stage=stage, group="all"))
        axes.set(title=capital(NAMES[stage]), xlabel="written into")
    figure.axes[0].set(ylabel="IDs of")
    n = sorted({int(value) for value in summary["n"].sel(group="all").values.ravel() if np.isfinite(value)})
    return NamedFigure(
        name="transfer",
        title="Position IDs of each task in the others",
        caption=(
            "Share (in %) of trials in which the object at the other end of the answer’s row is named once the "
            "difference of its place’s ID and the answer’s is added, and small below it the share without an edit. "
            "Rows: the task whose pictures IDs were estimated from; columns: the task in which they are written; on "
            "the diagonal both are one, with other pictures. Framed: more than without the edit and than with every "
            f"control (random heads, others in the same layers, IDs of shuffled places), false discovery rate "
            f"{summary.attrs['alpha']:g} over all pairs and stages. Dashes: no single word decides in one of the two "
            f"tasks. n = {', '.join(map(str, n))} a target, other trials than K and dose were chosen on."
        ),
        figure=figure,
        csv=tidy(summary, [*EFFECTS, "p_all", "q", "moved", "chosen_k", "chosen_dose"]),
    )


def _matrix(axes: Axes, part: xr.Dataset) -> None:
    top = part.sel(set="top").transpose("source", "target", ...)
    after, before = top["after"].values, top["before"].values
    axes.imshow(np.ma.masked_invalid(after - before), cmap="Greys", vmin=0, vmax=1.25, aspect="auto")
    for row, column in np.ndindex(after.shape):
        if not np.isfinite(after[row, column]):
            axes.text(column, row, "–", ha="center", va="center", color=FAINT)
            continue
        shade = "white" if after[row, column] - before[row, column] > 0.7 else INK
        told = f"{100 * after[row, column]:.0f}"
        axes.text(column, row - 0.12, told, ha="center", va="center", fontsize=7, color=shade)
        small = f"{100 * before[row, column]:.0f}"
        axes.text(column, row + 0.27, small, ha="center", va="center", fontsize=5, color=shade)
        if bool(top["moved"].values[row, column]):
            place = (column - 0.46, row - 0.46)
            axes.add_patch(Rectangle(place, 0.92, 0.92, fill=False, ec="#D55E00", lw=1.6, zorder=3))
    names = part["source"].values.tolist()
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def transfer_findings(summary: xr.Dataset) -> Findings:
    """Of ``transfer``."""
    whole = summary.sel(group="all").transpose("stage", "source", "target", ...)
    names = whole["source"].values.tolist()
    rows = [
        (NAMES[stage], source, target, *_row(whole.sel(stage=stage, source=source, target=target)))
        for stage in whole["stage"].values.tolist()
        for source in names
        for target in names
        if np.isfinite(float(whole["p_all"].sel(stage=stage, source=source, target=target)))
    ]
    own = (whole["source"] == whole["target"]).values
    moved, there = whole["moved"].values, np.isfinite(whole["p_all"].values)
    right = "; ".join(f"{name} {float(whole['right_before'].sel(target=name)):.0%}" for name in names)
    return Findings(
        title="position IDs of each task in the others",
        headline=(
            f"IDs of one task move answers in another, beyond every control, in {int((moved & ~own).sum())} of "
            f"{int((there & ~own).sum())} cases (pairs of tasks, stages), and within a task in "
            f"{int((moved & own).sum())} of {int((there & own).sum())}."
        ),
        sentences=(*_findings(summary), f"right without an edit: {right}"),
        columns=("stage", "IDs of", "written into", "K", "dose", *EFFECT_COLUMNS, "best control", "q"),
        rows=tuple(rows),
        method=(
            "IDs are means over pictures of one task by place: at the first or last row’s left or right end, which all "
            "grids have; where source or target has a single row, means over both rows. ID selection: outputs of heads "
            "at the last token; feature retrieval: their queries there, before rotary positions; ID retrieval: outputs "
            "at the words of one described object. dose × (ID of the other end of the row − ID of the answer’s "
            "place) is added in pictures of the target task, none of which was used for estimates. In ID retrieval a "
            "described object’s words are told another place, such that the object at the other end of the answer’s "
            "row becomes the right answer.",
            "Controls: as many random heads, random heads of the same layers, and the same heads with IDs of shuffled "
            "places, as long as the true ones in every head. A pair counts when the exact paired p against no edit and "
            f"against every control (the largest of these) is below {float(summary.attrs['alpha']):g} after Benjamini "
            "and Hochberg over all pairs and stages. K and dose were chosen for each pair on half of the target’s "
            "trials. “IDs of another task” pools all targets, each trial with one other task’s IDs, in turns. "
            f"{tested(summary)}",
        ),
    )


def _row(at: xr.Dataset) -> tuple[str, ...]:
    top = at.sel(set="top")
    setting = (f"{int(at['chosen_k'])}", f"{float(at['chosen_dose']):g}")
    return (*setting, *effect_row(top), f"{_control(at['after']):.1%}", format_p(float(at["q"])))


def _control(after: xr.DataArray) -> float:
    return float(after.sel(set=after["set"] != "top").max())


def pooled(summary: xr.Dataset, stage: str, pool: str) -> xr.Dataset:
    """Effects over all targets by set, with the names that effects have."""
    part = summary.sel(stage=stage, pool=pool)
    names = [str(name) for name in part.data_vars if str(name).startswith("pooled_")]
    return part[names].rename({name: name.removeprefix("pooled_") for name in names})


def _findings(summary: xr.Dataset) -> list[str]:
    """Of every stage all targets together."""
    told = []
    for stage in summary["stage"].values.tolist():
        for pool, of in POOLS.items():
            at = pooled(summary, stage, pool)
            if np.isfinite(float(at["p_all"])):
                top = at.sel(set="top")
                told.append(
                    f"{NAMES[stage]}, {of}: {share_of(top, 'before')} before, {share_of(top, 'after')} after, n = "
                    f"{int(top['n'])}; best control {_control(at['after']):.1%}; against that and the others "
                    f"{probability(float(at['p_all']))}"
                )
    return told


def transfer_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """Of every stage all targets together, with IDs of the same task and of other tasks."""
    rows = []
    for stage in summary["stage"].values.tolist():
        for pool, of in POOLS.items():
            part = pooled(summary, stage, pool)
            if np.isfinite(float(part["p_all"])):
                told = (part.sel(set="top"), part.sel(set=part["set"] != "top"))
                rows.append(EffectRow.of(f"elsewhere by {NAMES[stage]}, {of}", "K and dose of each pair", *told))
    return tuple(rows)
