"""Draws the pictures of this folder, their numbers and their runs' records beside them: see its README.md."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

import finst
from finst.experiments.cma.figures import overview
from finst.report.figures import NamedFigure

COLOURS = 64
"""Colours of a reduced palette: enough for curves on white, at a third of the bytes."""


def main(demo: Path, stages: Path, photoreal: Path, transfer: Path, folder: Path) -> None:
    """From the run folders of ``finst demo`` and ``finst run rsa-stages | photoreal | transfer`` into ``folder``."""
    keep(folder / "cma_organism", demo, overview(finst.load(demo).summary))
    keep(folder / "rsa_organism", stages, finst.load(stages).figures["stages"], COLOURS)
    for row in ("upper", "lower"):
        grid = finst.load(photoreal).figures[f"photoreal-grid-{row}-row"]
        keep(folder / f"photoreal_organism_{row}", photoreal, grid, COLOURS)
    keep(folder / "transfer_organism", transfer, finst.load(transfer).figures["transfer"], COLOURS)


def keep(name: Path, run: Path, figure: NamedFigure, colours: int | None = None) -> None:
    """Picture, table and record under one name; ``colours`` reduces the picture's palette."""
    png = figure.png if colours is None else reduced(figure.png, colours)
    name.with_suffix(".png").write_bytes(png)
    name.with_suffix(".csv").write_text(figure.csv, encoding="utf-8")
    name.with_suffix(".json").write_bytes((run / "manifest.json").read_bytes())


def reduced(png: bytes, colours: int) -> bytes:
    """The same picture with a palette."""
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(colours, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    demo, stages, photoreal, transfer = map(Path, sys.argv[1:])
    main(demo, stages, photoreal, transfer, Path(__file__).parent)
