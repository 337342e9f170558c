"""A line of the results as one flat row of numbers, for tables and figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.origins.measure import PEAKS, PLACEMENTS, STAGES

Row = dict[str, Any]
"""Column -> number, text, or None for what is not known."""

TASKS: Mapping[str, Callable[[str], bool]] = {
    "description, 2-4 objects": lambda task: task.startswith(tuple(f"description, {n} objects" for n in (2, 3, 4))),
    "description, 5-9 objects, low entropy": lambda task: _crowded(task, "low"),
    "description, 5-9 objects, high entropy": lambda task: _crowded(task, "high"),
    "next in reading order": lambda task: task.startswith("next"),
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
    """What is known of a training and its final weights."""
    training, trained = line["training"], line.get("trained") or {}
    row: Row = {"name": line["name"], "status": line["status"]}
    row |= {name: training[name] for name in ("group", "mix", "family", "seed")}
    row |= {name: trained.get(name) for name in ("layers", "steps", "seconds", "device")}
    row["loss"] = trained["curve"][-1]["loss"] if trained else None
    return {**row, **numbers_of(line.get("final") or {})}


def numbers_of(measured: Mapping[str, Any]) -> Row:
    """What is known of one model; None wherever it could not be measured."""
    mediation, steering = measured.get("mediation", {}), measured.get("steering")
    row: Row = {"binds": binds(mediation) if mediation else None}
    for placement in PLACEMENTS:
        stages = mediation.get(placement)
        for stage in STAGES:
            part = stages[stage] if isinstance(stages, dict) else {}
            for name in ("logits", "layer", "head", "above", "heads_above", "summed", "median_layer", "margin", "n"):
                row[f"{placement} {stage} {name}"] = part.get(name)
        for step in range(len(STAGES) - 1):
            holds = stages["order"][step]["holds"] if isinstance(stages, dict) else None
            row[f"{placement} order {step + 1} holds"] = holds
    for stage in STAGES:
        part = steered(steering, stage) if isinstance(steering, dict) else {}
        for name in ("k", "dose", "before", "after", "control", "control_own", "n", "p"):
            row[f"steering {stage} {name}"] = part.get(name)
    similarity = measured.get("similarity", {})
    for role, comparison in PEAKS:
        part = similarity.get(f"{comparison} at {role}", {})
        row |= {f"similarity {comparison} at {role} {name}": part.get(name) for name in ("r", "layer")}
    return {**row, **accuracies(measured.get("accuracy", {}))}


def steered(steering: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    """What steering a stage does: over all pictures where the rows of the canvas were kept apart (shares are means of
    both, n their sum; each row has a K, a dose and a p of its own)."""
    if "places" not in steering:
        return steering[stage]
    parts = [stages[stage] for stages in steering["places"].values()]
    means = {
        name: sum(part[name] for part in parts) / len(parts) for name in ("before", "after", "control", "control_own")
    }
    return {**means, "n": sum(part["n"] for part in parts)}


def binds(mediation: Mapping[str, Any]) -> bool:
    """All three stages above the family-wise noise and in the paper's order, in both placements."""
    return all(
        isinstance(stages, dict)
        and all(stages[stage]["above"] for stage in STAGES)
        and all(step["holds"] for step in stages["order"])
        for stages in (mediation.get(placement) for placement in PLACEMENTS)
    )


def accuracies(accuracy: Mapping[str, Sequence[int]]) -> Row:
    """Shares of lessons that come out in full."""
    named = {key.partition(": ")[::2]: counts for key, counts in accuracy.items()}
    new = {task: counts for (scenes, task), counts in named.items() if scenes == "new scenes"}
    row: Row = {
        name: _share(counts for task, counts in new.items() if belongs(task)) for name, belongs in TASKS.items()
    }
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
    """A row for each checkpoint, by steps."""
    checkpoints = sorted(line.get("checkpoints") or [], key=lambda checkpoint: checkpoint["step"])
    known = {"name": line["name"], "group": line["training"]["group"], "seed": line["training"]["seed"]}
    return [{**known, "step": checkpoint["step"], **numbers_of(checkpoint)} for checkpoint in checkpoints]
