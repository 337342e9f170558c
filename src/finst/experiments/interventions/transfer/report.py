"""Figure and findings of ``transfer``: position IDs of every task in every other (the general form of Fig 5)."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from finst.experiments.interventions.effect_rows import EFFECTS, EffectRow
from finst.experiments.interventions.sentences import EFFECT_COLUMNS, before_and_after, effect_row, rule, tested
from finst.report.figures import FAINT, INK, NamedFigure, canvas, styled
from finst.report.findings import Findings
from finst.report.tables import tidy
from finst.report.wording import NAMES, capital, format_p, p_heading, probability

EVERYTHING = "no edit and every control"
"""What the p and the q of a pair of tasks are against."""

POOLS = {"within": "IDs of the same task", "across": "IDs of another task"}
"""Trials of all tasks with IDs of their own task, or each with those of one other task, which take turns."""


@styled
def transfer_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figure of a summary with dims stage, source, target, set, group."""
    return (matrices(summary),)


def matrices(summary: xr.Dataset) -> NamedFigure:
    """A panel a stage: sources down, targets across."""
    stages, count = summary["stage"].values.tolist(), summary.sizes["source"]
    figure = canvas(7.2, 1.5 + 0.36 * count)
    for axes, stage in zip(figure.subplots(1, len(stages), sharey=True), stages, strict=True):
        _matrix(axes, summary.sel(stage=stage, group="all"))
        axes.set(title=capital(NAMES[stage]), xlabel="written into")
    figure.axes[0].set(ylabel="IDs of")
    return NamedFigure(
        name="transfer",
        title="Position IDs of each task in the others",
        caption=(
            "Share (in %) of trials in which the object at the other end of the answer’s row is named after the "
            "difference between the IDs of its place and the answer’s place is added; small below it, the share "
            "without an edit. Rows: the task whose pictures IDs were estimated from. Columns: the task in which they "
            "are written. On the diagonal both are the same task, with other pictures. Framed: more than without the "
            "edit and than with every control (random heads, others in the same layers, IDs of shuffled places), at a "
            f"false discovery rate of {summary.attrs['alpha']:g} over all pairs and stages. Dash: in one of the two "
            f"tasks no single word decides. {_trials(summary)} a target, other trials than those that K and dose were "
            "selected on."
        ),
        figure=figure,
        csv=tidy(summary, [*EFFECTS, "p_all", "q", "moved", "chosen_k", "chosen_dose"]),
    )


def _trials(summary: xr.Dataset) -> str:
    """``n = 50, 60``: the different numbers of trials that cases have."""
    n = sorted({int(value) for value in summary["n"].sel(group="all").values.ravel() if np.isfinite(value)})
    return f"n = {', '.join(map(str, n))}"


def _matrix(axes: Axes, part: xr.Dataset) -> None:
    top = part.sel(set="top").transpose("source", "target", ...)
    after, before = top["after"].values, top["before"].values
    axes.imshow(np.ma.masked_invalid(after - before), cmap="Greys", vmin=0, vmax=1.25, aspect="auto")
    for row, column in np.ndindex(after.shape):
        if not np.isfinite(after[row, column]):
            axes.text(column, row, "–", ha="center", va="center", color=FAINT)
            continue
        shade = "white" if after[row, column] - before[row, column] > 0.7 else INK
        for share, y, size in ((after, row - 0.12, 7), (before, row + 0.27, 5)):
            text = f"{100 * share[row, column]:.0f}"
            axes.text(column, y, text, ha="center", va="center", fontsize=size, color=shade)
        if bool(top["moved"].values[row, column]):
            corner = (column - 0.46, row - 0.46)
            axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, ec="#D55E00", lw=1.6, zorder=3))
    names = part["source"].values.tolist()
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def transfer_findings(summary: xr.Dataset) -> Findings:
    """The results in words and in a table."""
    whole = summary.sel(group="all").transpose("stage", "source", "target", ...)
    names = whole["source"].values.tolist()
    cells = {
        (stage, source, target): whole.sel(stage=stage, source=source, target=target)
        for stage in whole["stage"].values.tolist()
        for source in names
        for target in names
    }
    rows = [
        (NAMES[stage], source, target, *_row(effects))
        for (stage, source, target), effects in cells.items()
        if np.isfinite(float(effects["p_all"]))
    ]
    same = (whole["source"] == whole["target"]).values
    moved, exists = whole["moved"].values, np.isfinite(whole["p_all"].values)
    right = "; ".join(f"{name} {float(whole['right_before'].sel(target=name)):.0%}" for name in names)
    return Findings(
        title="position IDs of each task in the others",
        headline=(
            f"IDs of one task move answers in another, beyond every control, in {int((moved & ~same).sum())} of "
            f"{int((exists & ~same).sum())} cases (pairs of tasks, stages), and within a task in "
            f"{int((moved & same).sum())} of {int((exists & same).sum())} ({_trials(summary)} trials a case; "
            "shares and their intervals are in the table)."
        ),
        sentences=(
            *(
                f"{NAMES[stage]}, {pool}: {before_and_after(effects.sel(set='top'))}; {row.controls_text}; "
                f"{probability(float(effects['p_all']), EVERYTHING)}"
                for (stage, pool, effects), row in zip(_pools(summary), transfer_effects(summary), strict=True)
            ),
            f"right without an edit: {right}",
        ),
        columns=(
            "stage",
            "IDs of",
            "written into",
            "K",
            "dose",
            *EFFECT_COLUMNS,
            "best control",
            p_heading(EVERYTHING, "q"),
        ),
        rows=tuple(rows),
        method=(
            "IDs are means over pictures of one task by place: at the left or right end of the first or last row, "
            "which all grids have; where source or target has a single row, means over both rows. ID selection: "
            "outputs of heads at the last token. Feature retrieval: their queries there, before rotary positions. ID "
            "retrieval: outputs at the words of one described object. dose × (ID of the other end of the row − ID of "
            "the answer’s place) is added in pictures of the target task, none of which was used for estimates. In ID "
            "retrieval a described object’s words get the ID of another place, such that the object at the other end "
            "of the answer’s row becomes the right answer.",
            "Controls: as many random heads, random heads of the same layers, and the same heads with IDs of shuffled "
            "places, as long as the true ones in every head. A pair counts when the exact paired p against no edit and "
            "against every control, at the same setting and at its own best (the largest of these), is below "
            f"{float(summary.attrs['alpha']):g} after Benjamini and Hochberg over all pairs and stages. K and dose "
            "were selected for each pair on half of the target’s trials. “IDs of another task” pools all targets, each "
            "trial with one other task’s IDs, in turns. "
            f"{rule(summary)} {tested(summary)}",
        ),
    )


def _row(effects: xr.Dataset) -> tuple[str, ...]:
    """One pair of tasks; ``effects`` has the dim set."""
    setting = (f"{int(effects['chosen_k'])}", f"{float(effects['chosen_dose']):g}")
    best = f"{_best_control(effects['after']):.1%}"
    return (*setting, *effect_row(effects.sel(set="top")), best, format_p(float(effects["q"])))


def _best_control(after: xr.DataArray) -> float:
    return float(after.sel(set=after["set"] != "top").max())


def pooled(summary: xr.Dataset, stage: str, pool: str) -> xr.Dataset:
    """Effects over all targets by set, with the names that effects have."""
    part = summary.sel(stage=stage, pool=pool)
    names = [str(name) for name in part.data_vars if str(name).startswith("pooled_")]
    return part[names].rename({name: name.removeprefix("pooled_") for name in names})


def _pools(summary: xr.Dataset) -> Iterator[tuple[str, str, xr.Dataset]]:
    """Every stage and pool that has pairs of tasks: the stage, the pool in words, and its effects over all targets."""
    for stage in summary["stage"].values.tolist():
        for pool, words in POOLS.items():
            effects = pooled(summary, stage, pool)
            if np.isfinite(float(effects["p_all"])):
                yield stage, words, effects


def transfer_effects(summary: xr.Dataset) -> tuple[EffectRow, ...]:
    """All targets together, with IDs of the same task and of other tasks, for every stage."""
    return tuple(
        EffectRow.of_top(
            f"elsewhere by {NAMES[stage]}, {pool}",
            "K and dose of each pair",
            effects,
            alpha=float(summary.attrs["alpha"]),
        )
        for stage, pool, effects in _pools(summary)
    )
