"""The figure of accuracy: by number of objects, entropy and placement (Fig 7)."""

from __future__ import annotations

import xarray as xr

from finst.report.curves import PENS
from finst.report.figures import NamedFigure, canvas, styled
from finst.report.tables import tidy
from finst.report.wording import counted, level_of

PLACEMENTS = {"prefill": "begun in the assistant's turn", "user_turn": "in the user's turn"}
"""Titles of the panels."""

SCORES = {"accuracy": "whole answer", "colour_accuracy": "colour"}
"""The accuracies of a summary, and their names in the legend."""


@styled
def accuracy_figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    """The figure of a summary with dims placement, entropy, objects."""
    return (accuracy_by_objects(summary),)


def accuracy_by_objects(summary: xr.Dataset) -> NamedFigure:
    """Fig 7: accuracy of whole answers and of colours by number of objects, one panel a placement."""
    placements = summary["placement"].values.tolist()
    figure = canvas(7.2, 2.9)
    panels = figure.subplots(1, len(placements), sharey=True, squeeze=False)[0]
    entropies = summary["entropy"].values.tolist()
    for axes, placement in zip(panels, placements, strict=True):
        for index, (entropy, pen) in enumerate(zip(entropies, PENS, strict=False)):
            for offset, (name, label) in zip((-0.06, 0.06), SCORES.items(), strict=True):
                part = summary.sel(placement=placement, entropy=entropy)
                x = part["objects"].values + 0.16 * (index - (len(entropies) - 1) / 2) + offset
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
                    label=f"{entropy} entropy, {label}",
                )
        axes.set(xlabel="objects", title=PLACEMENTS.get(placement, placement))
        axes.set_xticks(summary["objects"].values)
    panels[0].set(ylabel="share of trials", ylim=(-0.02, 1.03))
    panels[-1].legend(loc="lower left")
    variables = [f"{name}{end}" for name in SCORES for end in ("", "_low", "_high")]
    return NamedFigure(
        name="accuracy",
        title="Accuracy by number of objects",
        caption=(
            "How often the model completes a description of all objects but one with the correct answer (filled) or "
            f"at least with its colour (hollow). {level_of(summary)} Wilson intervals; "
            f"{counted(summary.attrs['trials'], 'trial')} a point. Both placements use the same scenes. Compare Fig 7 "
            "of the paper."
        ),
        figure=figure,
        csv=tidy(summary, variables),
    )
