"""Models followed from their first step on, and when each thing is first seen in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from finst.analysis.proportions import wilson
from finst.report.wording import NAMES
from studies.origins.evidence import LONG, is_binding_recipe
from studies.origins.names import PLACEMENTS, STAGES
from studies.origins.rows import Row
from studies.origins.tables import markdown

SHORT, FEW_COLOURS = "Qwen2-VL, at most 25,400 steps", "Qwen2-VL, 60 % low entropy, 12,700 steps"
LONGEST, LLAVA = f"Qwen2-VL, {LONG:,} steps or more", "LLaVA-1.5"
KINDS = (SHORT, FEW_COLOURS, LONGEST, LLAVA)
"""Kinds of lineages, by recipe and length."""

SOLVED = 0.9
"""Share of lessons that counts as solved."""


@dataclass(frozen=True)
class Lineage:
    """The checkpoints of one model from its first step on, through all trainings that continue each other."""

    name: str
    """That of its last training."""
    checkpoints: tuple[Row, ...]

    @property
    def kind(self) -> str:
        """By recipe and length."""
        last = self.checkpoints[-1]
        if last["family"] == "llava":
            return LLAVA
        if not is_binding_recipe(last):
            return FEW_COLOURS
        return LONGEST if last["step"] >= LONG else SHORT


def lineages(path: Sequence[Row]) -> list[Lineage]:
    """The lineages of all checkpoints, those of the long trainings last."""
    by_name: dict[str, list[Row]] = {}
    for row in path:
        by_name.setdefault(row["name"], []).append(row)
    continued = {row["start"] for row in path}
    found = [
        Lineage(name, (*by_name.get(part[0]["start"], ()), *part))
        for name, part in by_name.items()
        if name not in continued
    ]
    return sorted(found, key=lambda lineage: KINDS.index(lineage.kind))


def first(lineage: Lineage, holds: Callable[[Row], bool]) -> int | None:
    """Steps of the first checkpoint of which something holds; None where it holds of none."""
    return next((row["step"] for row in lineage.checkpoints if holds(row)), None)


def first_above(lineage: Lineage, placement: str, stage: str) -> int | None:
    """Steps of the first checkpoint whose strongest head of the stage is above the noise."""
    return first(lineage, lambda row: bool(row[f"{placement} {stage} above"]))


def arrivals(path: Sequence[Row]) -> str:
    """A row a lineage, a column a stage or a task: the steps at which it is first seen; Markdown."""
    stages = tuple(reversed(STAGES))
    tasks = ("next, high entropy", "next, low entropy")
    solved = [f"{task}: {100 * SOLVED:.0f} %" for task in tasks]
    head = ["lineage", "followed to", *(NAMES[stage] for stage in stages), *solved]
    return markdown(
        head,
        [
            [
                lineage.name,
                _steps(lineage.checkpoints[-1]["step"]),
                *("; ".join(_steps(first_above(lineage, turn, stage)) for turn in PLACEMENTS) for stage in stages),
                *(_steps(first(lineage, lambda row, task=task: row[task] >= SOLVED)) for task in tasks),
            ]
            for lineage in lineages(path)
        ],
    )


def selection_first(path: Sequence[Row]) -> str:
    """In how many lineages selection is above the noise at an earlier checkpoint than retrieval; a sentence."""
    retrieval, selection, _ = STAGES
    found = lineages(path)
    pairs = [tuple(first_above(lineage, PLACEMENTS[0], stage) for stage in (retrieval, selection)) for lineage in found]
    seen = [(late, early) for late, early in pairs if late is not None and early is not None]
    hits = sum(early < late for late, early in seen)
    if not seen:
        return "No lineage has checkpoints in which both stages are above the noise."
    low, high = wilson(hits, len(seen))
    gaps = [late - early for late, early in seen]
    return (
        f"With the sentence in the assistant's turn, {len(seen)} of {len(found)} lineages have checkpoints in which "
        f"each of the two stages is above the noise. Selection is seen at an earlier checkpoint than retrieval in "
        f"{hits} of {len(seen)} [{100 * low:.0f}, {100 * high:.0f} %], {min(gaps):,} to {max(gaps):,} steps earlier."
    )


def _steps(steps: int | None) -> str:
    return "-" if steps is None else f"{steps:,}"
