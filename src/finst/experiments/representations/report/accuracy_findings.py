"""The results of ``accuracy`` in words and in a table (Fig 7)."""

# ruff: noqa: RUF001  (typeset text: apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import xarray as xr

from finst.analysis.proportions import wilson
from finst.experiments.representations.report.method import leak_text
from finst.report.findings import Findings
from finst.report.wording import counted, level_of, sampled, share_interval

CONDITION = ("placement", "entropy", "objects")
"""The dims of a summary."""

SCORES = {"accuracy": "whole answer", "colour_accuracy": "first word"}
"""The accuracies of a summary, and what they are called."""

NAMED = 3
"""Conditions that are named where several are the least accurate."""

Condition = tuple[str | int, ...]
"""The values of ``CONDITION``."""


def accuracy_findings(summary: xr.Dataset) -> Findings:
    """The results of a summary with dims placement, entropy, objects."""
    conditions = list(product(*(summary[name].values.tolist() for name in CONDITION)))
    placements = summary.sizes["placement"]
    scenes = summary.attrs["trials"] * len(conditions) // placements
    whole, first_word = (_over_all(summary, name, scenes) for name in SCORES)
    each = "" if placements == 1 else f", each in {counted(placements, 'placement')}"
    return Findings(
        title="accuracy of scene descriptions",
        headline=(
            f"{whole} of answers are correct, and {first_word} begin with the correct word "
            f"({sampled(scenes, 'scene')}{each})."
        ),
        sentences=(
            _least_accurate(summary, conditions),
            f"{counted(summary.attrs['trials'], 'trial')} in each of {counted(len(conditions), 'condition')}",
        ),
        columns=(*CONDITION, *SCORES.values()),
        rows=tuple((*map(str, condition), *_accuracy_cells(_at(summary, condition))) for condition in conditions),
        method=(
            "Objects are in random cells of a 2x2 grid (up to 4 objects) or a 3x3 grid. The prompt describes all "
            f"objects but one, in random order. {leak_text(summary)} An answer is correct when the greedily generated "
            f"text begins with it, word by word. Intervals are Wilson’s ({level_of(summary)}). Over all "
            "conditions they count every scene once, since placements share scenes. Nothing is compared, so there is "
            "no p.",
        ),
    )


def _over_all(summary: xr.Dataset, name: str, scenes: int) -> str:
    """A share over all conditions, with the interval of so many independent scenes."""
    share = float(summary[name].mean())
    return share_interval(share, *wilson(round(share * scenes), scenes, 1 - summary.attrs["alpha"]))


def _least_accurate(summary: xr.Dataset, conditions: Sequence[Condition]) -> str:
    """The condition with the lowest accuracy; all of them where several are alike, and none where all are."""
    shares = {condition: float(_at(summary, condition)["accuracy"]) for condition in conditions}
    least = min(shares.values())
    alike = [condition for condition, share in shares.items() if share == least]
    if len(alike) == len(conditions):
        return f"the accuracy is {least:.1%} in {'all conditions alike' if len(alike) > 1 else 'the one condition'}"
    named = "; ".join(map(_condition_text, alike[:NAMED]))
    more = f" and {counted(len(alike) - NAMED, 'condition')} more" if len(alike) > NAMED else ""
    count = "" if len(alike) == 1 else f" ({counted(len(alike), 'condition')} alike)"
    return f"least accurate{count}: {named}{more}: {_share_text(_at(summary, alike[0]), 'accuracy')}"


def _condition_text(condition: Condition) -> str:
    placement, entropy, objects = condition
    return f"{counted(int(objects), 'object')}, {entropy} entropy, {placement}"


def _at(summary: xr.Dataset, condition: Condition) -> xr.Dataset:
    return summary.sel(dict(zip(CONDITION, condition, strict=True)))


def _accuracy_cells(part: xr.Dataset) -> tuple[str, ...]:
    return tuple(_share_text(part, name) for name in SCORES)


def _share_text(part: xr.Dataset, name: str) -> str:
    return share_interval(*(float(part[f"{name}{end}"]) for end in ("", "_low", "_high")))
