"""A line of the results as one flat row of numbers, for tables and figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.origins.names import PEAKS, PLACEMENTS, STAGES

Row = dict[str, Any]
"""Column -> number, text, or None for what is not known."""

MEDIATED = ("logits", "low", "high", "p_fwer", "layer", "head", "above", "heads_above", "summed", "median_layer", "n")
ORDERED = ("difference", "low", "high", "holds")
STEERED = ("k", "dose", "before", "after", "after_low", "after_high", "control", "control_own", "p", "n")
ROWS = ("upper row", "lower row")
"""Columns of each stage, of each step of the order, and of each row of the canvas."""

NEW = "new scenes"
"""The set of scenes that accuracies are of, where no other is named."""

POOLED = "both rows"
"""The place of steering that was measured without keeping the rows of the canvas apart."""

TASKS: Mapping[str, Callable[[str], bool]] = {
    "description, 2-4 objects": lambda task: task.startswith(tuple(f"description, {n} objects" for n in (2, 3, 4))),
    "description, 5-9 objects, low entropy": lambda task: _crowded(task, "low"),
    "description, 5-9 objects, high entropy": lambda task: _crowded(task, "high"),
    "next in reading order": lambda task: task.startswith("next"),
    "next, low entropy": lambda task: task.startswith("next") and task.endswith("low entropy"),
    "next, high entropy": lambda task: task.startswith("next") and task.endswith("high entropy"),
    "questions": lambda task: task.startswith(("colour", "spatial")),
    "lists": lambda task: task.startswith("enumeration"),
}
"""Groups of lines of the report card, of new scenes."""


def _crowded(task: str, entropy: str) -> bool:
    return task.startswith("description") and task[13] in "56789" and task.endswith(f"{entropy} entropy")


def read(files: Iterable[Path]) -> list[dict[str, Any]]:
    """The lines of several studies, one for each training: the last that was measured whole, or else the last."""
    lines: dict[str, dict[str, Any]] = {}
    for file in files:
        for text in file.read_text().splitlines():
            line = json.loads(text)
            before = lines.get(line["name"])
            if before is None or before["status"] != "measured" or line["status"] == "measured":
                lines[line["name"]] = line
    return list(lines.values())


def row_of(line: Mapping[str, Any]) -> Row:
    """What is known of a training and its final weights.

    ``steps`` are its own, or those that were planned where it came to no end; ``start`` is the training whose final
    weights it continues from, and ``before`` the steps that those had.
    """
    training, trained, start = line["training"], line.get("trained") or {}, line.get("start") or {}
    row: Row = {"name": line["name"], "status": line["status"]}
    row |= {name: training.get(name) for name in ("group", "mix", "family", "seed", "tokens", "low_entropy")}
    row |= {name: trained.get(name) or training.get(name) for name in ("layers", "steps", "legs")}
    row["seconds"] = trained.get("seconds")
    row |= {"start": start.get("name"), "before": start.get("steps", 0)}
    row["machine"] = line.get("machine") or trained.get("device")
    row["loss"] = trained["curve"][-1]["loss"] if trained.get("curve") else None
    return {**row, **numbers_of(line.get("final") or {})}


def numbers_of(measured: Mapping[str, Any]) -> Row:
    """What is known of one model; None wherever it could not be measured."""
    mediation, steering = measured.get("mediation", {}), measured.get("steering")
    row: Row = {
        "binds": binds(mediation) if mediation else None,
        "binds with any heads": binds(mediation, some_above) if mediation else None,
    }
    for placement in PLACEMENTS:
        stages = mediation.get(placement)
        for stage in STAGES:
            part = stages[stage] if isinstance(stages, dict) else {}
            row |= {f"{placement} {stage} {name}": part.get(name) for name in MEDIATED}
        for step in range(len(STAGES) - 1):
            order = stages["order"][step] if isinstance(stages, dict) else {}
            row |= {f"{placement} order {step + 1} {name}": order.get(name) for name in ORDERED}
    places = steered_places(steering) if isinstance(steering, dict) else {}
    for stage in STAGES:
        part = _mean_of_places([stages[stage] for stages in places.values()])
        row |= {
            f"steering {stage} {name}": part.get(name) for name in ("before", "after", "control", "control_own", "n")
        }
        for place in (POOLED, *ROWS):
            part = places[place][stage] if place in places else {}
            row |= {f"steering {place} {stage} {name}": part.get(name) for name in STEERED}
    similarity = measured.get("similarity", {})
    for role, comparison in PEAKS:
        part = similarity.get(f"{comparison} at {role}", {})
        row |= {f"similarity {comparison} at {role} {name}": part.get(name) for name in ("r", "layer")}
    return {**row, **accuracies(measured.get("accuracy", {}))}


def steered_places(steering: Mapping[str, Any]) -> Mapping[str, Any]:
    """What steering does, by row of the canvas; early trainings have one entry for all pictures together."""
    return steering.get("places", {POOLED: steering})


def _mean_of_places(parts: Sequence[Mapping[str, Any]]) -> Row:
    """Shares of all pictures: every place has as many. ``n`` is their sum; K, dose and p are each place's own."""
    shares = ("before", "after", "control", "control_own")
    if not parts:
        return {}
    means = {name: sum(part[name] for part in parts) / len(parts) for name in shares if name in parts[0]}
    return {**means, "n": sum(part["n"] for part in parts)}


def strongest_above(stage: Mapping[str, Any]) -> bool:
    """The head with the largest mean is above the family-wise noise."""
    return bool(stage["above"])


def some_above(stage: Mapping[str, Any]) -> bool:
    """At least one head is above the family-wise noise, however weak; what a report of causal mediation says."""
    return bool(stage["above"] or stage.get("heads_above"))


def binds(mediation: Mapping[str, Any], above: Callable[[Mapping[str, Any]], bool] = strongest_above) -> bool:
    """All three stages above the noise and in the paper's order, in both placements (Fig 1d).

    The rule of the strongest head was fixed before any training.
    """
    return all(
        isinstance(stages, dict)
        and all(above(stages[stage]) for stage in STAGES)
        and all(step["holds"] for step in stages["order"])
        for stages in (mediation.get(placement) for placement in PLACEMENTS)
    )


def accuracies(accuracy: Mapping[str, Sequence[int]]) -> Row:
    """Shares of lessons that come out in full."""
    named = {key.partition(": ")[::2]: counts for key, counts in accuracy.items()}
    new = {task: counts for (scenes, task), counts in named.items() if scenes == NEW}
    row: Row = {}
    for name, belongs in TASKS.items():
        counts = [counts for task, counts in new.items() if belongs(task)]
        row |= {name: _share(counts), f"{name} n": sum(n for _, n in counts) or None}
    for scenes in ("held-out layouts", "withheld pairs"):
        of_set = {task: counts for (other, task), counts in named.items() if other == scenes}
        row[f"description, {scenes}"] = _share(counts for task, counts in of_set.items() if task == "description")
        row[f"questions and lists, {scenes}"] = _share(
            counts for task, counts in of_set.items() if not task.startswith(("description", "next"))
        )
    return row


def _share(counts: Iterable[Sequence[int]]) -> float | None:
    pairs = list(counts)
    total = sum(n for _, n in pairs)
    return sum(right for right, _ in pairs) / total if total else None


def trajectory_of(line: Mapping[str, Any]) -> list[Row]:
    """A row for each checkpoint, by steps; those of the weights it continues from count."""
    checkpoints = sorted(line.get("checkpoints") or [], key=lambda checkpoint: checkpoint["step"])
    start = line.get("start") or {}
    training = {name: line["training"].get(name) for name in ("group", "mix", "family", "seed", "low_entropy")}
    known = {"name": line["name"], **training, "start": start.get("name")}
    before = start.get("steps", 0)
    return [{**known, "step": before + checkpoint["step"], **numbers_of(checkpoint)} for checkpoint in checkpoints]
