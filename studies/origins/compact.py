"""Lines of results without matrices and curves, small enough to be kept beside the code.

``python -m studies.origins.compact runs/origins/results.jsonl --out studies/origins/results.jsonl``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.origins.names import STAGES
from studies.origins.rows import NEW, read, steered_places


@dataclass(frozen=True)
class Kept:
    """Names of the numbers that stay: of a head map's stage, of a steered stage, of a curve; and of lessons by how
    their names begin."""

    mediation: tuple[str, ...]
    steering: tuple[str, ...]
    similarity: tuple[str, ...]
    lessons: str


FINAL = Kept(
    (
        *("layer", "head", "logits", "low", "high", "p_fwer", "above", "heads_above", "summed", "median_layer"),
        *("margin", "n"),
    ),
    ("k", "dose", "before", "after", "after_low", "after_high", "p", "n", "control", "control_own"),
    ("layer", "r", "low", "high"),
    "",
)
CHECKPOINT = Kept(
    ("layer", "head", "logits", "low", "high", "above", "heads_above", "summed", "n"),
    ("after", "after_low", "after_high", "n", "control", "control_own"),
    ("layer", "r"),
    f"{NEW}: next",
)


def compact(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line as ``run`` writes it, in the same shape.

    Dropped are the effects of all heads, the grids of K and dose, similarities by layer and all but the last loss; of
    checkpoints all that no figure shows.
    """
    small = dict(line)
    if line.get("trained"):
        small["trained"] = {**line["trained"], "curve": line["trained"]["curve"][-1:]}
    if line.get("final"):
        small["final"] = {"weights": line["final"]["weights"], **_numbers(line["final"], FINAL)}
    checkpoints = line.get("checkpoints") or []
    small["checkpoints"] = [{"step": part["step"], **_numbers(part, CHECKPOINT)} for part in checkpoints]
    return small


def _numbers(measured: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
    steering, similarity = measured["steering"], measured["similarity"]
    return {
        "mediation": {name: _mediation(stages, kept) for name, stages in measured["mediation"].items()},
        "steering": steering if isinstance(steering, str) else {"places": _steering(steering, kept)},
        "similarity": {
            key: _only(kept.similarity, part) if isinstance(part, dict) else part for key, part in similarity.items()
        },
        "accuracy": {key: part for key, part in measured["accuracy"].items() if key.startswith(kept.lessons)},
    }


def _mediation(stages: Mapping[str, Any] | str, kept: Kept) -> dict[str, Any] | str:
    if isinstance(stages, str):
        return stages
    around = _only(("noise", "right", "order"), stages)
    return {**around, **{stage: _only(kept.mediation, stages[stage]) for stage in STAGES}}


def _steering(steering: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
    return {
        place: {stage: _only(kept.steering, stages[stage]) for stage in STAGES}
        for place, stages in steered_places(steering).items()
    }


def _only(names: Sequence[str], part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part[name] for name in names if name in part}


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the lines of one or several studies, one for each training, without matrices and curves."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="results.jsonl of one or several studies")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    lines = [compact(line) for line in read(options.results)]
    options.out.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


if __name__ == "__main__":
    main()
