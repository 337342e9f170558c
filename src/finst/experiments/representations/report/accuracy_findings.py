"""The results of ``accuracy`` in words and in a table (Fig 7)."""

# ruff: noqa: RUF001  (typeset text: apostrophes as readers expect them)
from __future__ import annotations

from itertools import product

import xarray as xr

from finst.experiments.representations.report.method import leak_text
from finst.report.findings import Findings
from finst.report.wording import level_of

CONDITION = ("placement", "entropy", "objects")
"""The dims of a summary."""

SCORES = {"accuracy": "whole answer", "colour_accuracy": "first word"}
"""The accuracies of a summary, and what they are called."""


def accuracy_findings(summary: xr.Dataset) -> Findings:
    """The results of a summary with dims placement, entropy, objects."""
    conditions = list(product(*(summary[name].values.tolist() for name in CONDITION)))
    placement, entropy, objects = min(conditions, key=lambda condition: float(_at(summary, condition)["accuracy"]))
    least = float(_at(summary, (placement, entropy, objects))["accuracy"])
    whole, first_word = (float(summary[name].mean()) for name in SCORES)
    return Findings(
        title="accuracy of scene descriptions",
        headline=f"{whole:.1%} of answers are correct, and {first_word:.1%} begin with the correct word.",
        sentences=(
            f"least accurate: {objects} objects, {entropy} entropy, {placement}: {least:.1%}",
            f"{summary.attrs['trials']} trials in each of {len(conditions)} conditions",
        ),
        columns=(*CONDITION, *SCORES.values()),
        rows=tuple((*map(str, condition), *_accuracy_cells(_at(summary, condition))) for condition in conditions),
        method=(
            "Objects are in random cells of a 2x2 grid (up to 4 objects) or a 3x3 grid. The prompt describes all "
            f"objects but one, in random order. {leak_text(summary)} An answer is correct when the greedily generated "
            f"text begins with it, word by word. Intervals are Wilson’s ({level_of(summary)}).",
        ),
    )


def _at(summary: xr.Dataset, condition: tuple[str | int, ...]) -> xr.Dataset:
    return summary.sel(dict(zip(CONDITION, condition, strict=True)))


def _accuracy_cells(part: xr.Dataset) -> tuple[str, ...]:
    return tuple(
        f"{float(part[name]):.1%} [{float(part[f'{name}_low']):.1%}, {float(part[f'{name}_high']):.1%}]"
        for name in SCORES
    )
