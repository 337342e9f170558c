"""The report card of a shipped model, from its line of results.

``python -m studies.origins.cards studies/origins/results.jsonl legs34-s7 src/finst/builtin/organism/weights``
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import safe_open

from finst.analysis.proportions import wilson
from finst.builtin.organism.card import write_card
from finst.builtin.organism.examine import Result
from finst.builtin.organism.families import architecture_of
from studies.origins.rows import read


def results_of(accuracy: Mapping[str, Sequence[int]]) -> list[Result]:
    """The lines of a report card, of what ``measure.accuracy_of`` gives: descriptions of both placements together."""
    results = []
    for line, (right, n) in accuracy.items():
        scenes, task = line.split(": ")
        results.append(Result(_named(task), scenes, n, right / n, *wilson(right, n)))
    return sorted(results, key=_order)


def _named(task: str) -> str:
    kind, *rest = task.split(", ")
    if kind != "description":
        return task
    count, entropy = rest or ("2 to 9 objects", "any entropy")
    return f"{kind}, {count}, both placements, {entropy}"


def _order(result: Result) -> int:
    entropies = ("low entropy", "high entropy", "any entropy")
    last = result.task.rpartition(", ")[2]
    return entropies.index(last) if result.task.startswith("description") else len(entropies)


def parameters_in(weights: Path) -> int:
    """How many numbers a file of weights holds."""
    with safe_open(weights, framework="numpy") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118 - no dict


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the card of one training beside its weights."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("results", type=Path, help="results.jsonl of a study")
    parser.add_argument("training", help="its name there")
    parser.add_argument("folder", type=Path, help="of the weights and their training record")
    options = parser.parse_args(arguments)
    (line,) = (line for line in read([options.results]) if line["name"] == options.training)
    results = results_of(line["final"]["accuracy"])
    architecture = architecture_of(line["training"]["family"])
    write_card(architecture, options.folder, results, parameters_in(options.folder / "model.safetensors"))


if __name__ == "__main__":
    main()
