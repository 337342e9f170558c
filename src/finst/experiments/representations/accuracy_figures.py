"""The figure of accuracy: by number of objects, entropy and placement (Fig 7)."""

from __future__ import annotations

import matplotlib as mpl
import xarray as xr

from finst.report.curves import PENS
from finst.report.figures import STYLE, NamedFigure, canvas
from finst.report.tables import tidy
from finst.report.wording import level_of

PLACEMENTS = {"prefill": "begun in the assistant's turn", "user_turn": "in the user's turn"}


def accuracy_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """Of a summary with dims placement, entropy, objects."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        return (accuracy(summary),)


def accuracy(summary: xr.Dataset) -> NamedFigure:
    """Whole answers and colours right, a panel a placement."""
    placements = summary["placement"].values.tolist()
    figure = canvas(7.2, 2.9)
    panels = figure.subplots(1, len(placements), sharey=True, squeeze=False)[0]
    entropies = summary["entropy"].values.tolist()
    names = {"accuracy": "whole answer", "colour_accuracy": "colour"}
    for axes, placement in zip(panels, placements, strict=True):
        for place, entropy in enumerate(entropies):
            pen = PENS[place]
            for offset, (name, said) in zip((-0.06, 0.06), names.items(), strict=True):
                part = summary.sel(placement=placement, entropy=entropy)
                x = part["objects"].values + 0.16 * (place - (len(entropies) - 1) / 2) + offset
                whole = name == "accuracy"
                axes.vlines(x, part[f"{name}_low"], part[f"{name}_high"], color=pen.colour, lw=1)
                axes.plot(
                    x,
                    part[name],
                    color=pen.colour,
                    marker=pen.marker,
                    mfc=pen.colour if whole else "white",
                    ms=4,
                    lw=1.2 if whole else 0.7,
                    ls=pen.line if whole else (0, (1, 2)),
                    label=f"{entropy} entropy, {said}",
                )
        axes.set(xlabel="objects", title=PLACEMENTS.get(placement, placement))
        axes.set_xticks(summary["objects"].values)
    panels[0].set(ylabel="share of trials", ylim=(-0.02, 1.03))
    panels[-1].legend(loc="lower left")
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    return NamedFigure(
        name="accuracy",
        title="Accuracy by number of objects",
        caption=(
            "How often the model completes a description of all objects but one with the right answer (filled), and "
            f"begins with its colour (hollow). {level_of(summary)} Wilson intervals, {summary.attrs['trials']} trials "
            "a point; both placements are asked about the same scenes. Compare Fig 7 of the paper."
        ),
        figure=figure,
        csv=tidy(summary, ends),
    )
