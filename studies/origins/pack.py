"""What is carried away from a study: its lines, its logs, and the weights of the best model of each group."""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.origins.names import RESULTS, STAGES

FILES, LARGEST, TOTAL = 8, 16 * 2**20, 63 * 2**20
"""At most so many files, of so many bytes, and of so many bytes together."""

SHIPPED = ("never-mixed-6", "binding-llava", "counting")
"""Groups whose weights are carried first; then those of all others."""


def pack(study: Path, place: Path, groups: Sequence[str] = SHIPPED) -> list[Path]:
    """Writes lines, logs and as many models as there is room for into ``place``; the files."""
    place.mkdir(parents=True, exist_ok=True)
    results = study / RESULTS
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []
    written = [place / RESULTS, place / "logs.tar.gz"]
    written[0].write_text("".join(json.dumps(line) + "\n" for line in lines))
    logs = sorted(study.glob("*/*.log"))
    written[1].write_bytes(_archive(study, logs))
    for name in best(lines, groups):
        folder = study / name / "model"
        files = [file for file in sorted(folder.iterdir()) if file.is_file()]
        packed = _archive(folder.parent, files)
        parts = [packed[start : start + LARGEST] for start in range(0, len(packed), LARGEST)]
        carried = sum(file.stat().st_size for file in written)
        if len(written) + len(parts) > FILES or carried + len(packed) > TOTAL:
            continue
        for number, part in enumerate(parts):
            suffix = "" if len(parts) == 1 else f".{number}"
            written.append(place / f"{name}.tar.gz{suffix}")
            written[-1].write_bytes(part)
    return written


def _archive(root: Path, files: Sequence[Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for file in files:
            archive.add(file, file.relative_to(root))
    return buffer.getvalue()


def best(lines: Sequence[dict[str, Any]], groups: Sequence[str] = SHIPPED) -> list[str]:
    """The name of the best measured model of each group: the groups to ship first, then the second best of these."""
    ranked: dict[str, list[str]] = {}
    for line in sorted(lines, key=score, reverse=True):
        if line["status"] == "measured":
            ranked.setdefault(line["training"]["group"], []).append(line["name"])
    first = [ranked[group][0] for group in groups if group in ranked]
    second = [name for group in groups if group in ranked for name in ranked[group][1:]]
    others = [names[0] for group, names in ranked.items() if group not in groups]
    return [*first, *second, *others]


def score(line: dict[str, Any]) -> float:
    """What models are ranked by: those that are to bind by their weakest stage in logits, others by accuracy."""
    final = line.get("final")
    if not final:
        return float("-inf")
    if line["training"]["mix"].startswith(("binding", "never")):
        maps = [part for part in final["mediation"].values() if isinstance(part, dict)]
        return min((part[stage]["logits"] for part in maps for stage in STAGES), default=float("-inf"))
    right, count = (sum(values) for values in zip(*final["accuracy"].values(), strict=True))
    return right / count


def main(arguments: Sequence[str] | None = None) -> None:
    """Packs what a study has so far."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("place", type=Path)
    options = parser.parse_args(arguments)
    for file in pack(options.study, options.place):
        print(f"{file.stat().st_size:10d}  {file}")


if __name__ == "__main__":
    main()
