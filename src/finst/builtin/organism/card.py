"""An organism's model card: where the weights come from and how well they do, written from the records beside them."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2

from finst.analysis.proportions import wilson
from finst.builtin.organism.architecture import Architecture
from finst.builtin.organism.examine import SCENE_SETS, Result
from finst.builtin.organism.lessons.training_scenes import WITHHELD

TRAINING = "training.json"
"""One entry for each leg of the training."""

REPORT_CARD = "report_card.json"
"""Every line of the report card."""

TEMPLATE = Path(__file__).with_name("card.md.j2")


def _pooled(results: Sequence[Result]) -> str:
    n = sum(result.n for result in results)
    right = round(sum(result.accuracy * result.n for result in results))
    low, high = wilson(right, n)
    return f"{100 * right / n:.1f} [{100 * low:.1f}, {100 * high:.1f}], n = {n}"


def _group(task: str) -> str:
    parts = task.split(", ")
    return f"{parts[0]}, 2-9 objects, {parts[-1]}" if parts[0] == "description" else task


def _table(results: Sequence[Result]) -> dict[str, list[str]]:
    groups: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        groups[_group(result.task)][result.scenes].append(result)
    return {
        task: [_pooled(by_set[scenes]) if by_set[scenes] else "none" for scenes in SCENE_SETS]
        for task, by_set in groups.items()
    }


def _shares(mix: dict[str, Any]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in mix.items() if name != "name")


def _canvases(architecture: Architecture) -> str:
    *others, last = sorted((grid.width, grid.height) for grid in architecture.grids)
    return f"{', '.join(f'{width}x{height}' for width, height in others)} and {last[0]}x{last[1]}"


def write_card(architecture: Architecture, folder: Path, results: Sequence[Result], parameters: int) -> None:
    """Writes the report card and README.md beside the weights and the training record in ``folder``."""
    lines = [asdict(result) for result in results]
    (folder / REPORT_CARD).write_text("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n")
    text = jinja2.Template(TEMPLATE.read_text(), keep_trailing_newline=True, undefined=jinja2.StrictUndefined).render(
        architecture=architecture,
        canvases=_canvases(architecture),
        millions=f"{parameters / 1e6:.1f}",
        sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        withheld=sorted(f"{colour} {shape}" for colour, shape in WITHHELD),
        legs=json.loads((folder / TRAINING).read_text()),
        shares=_shares,
        sets=list(SCENE_SETS),
        table=_table(results),
    )
    (folder / "README.md").write_text(text)
