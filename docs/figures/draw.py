"""Draws ``cma_organism.png``, its numbers and its run's record beside it: ``python docs/figures/draw.py runs/demo``."""

from __future__ import annotations

import sys
from pathlib import Path

from finst.report.maps import overview
from finst.runs.archive import unpack


def main(run: Path, folder: Path) -> None:
    """From the run folder of ``finst demo`` into ``folder``."""
    figure = overview(unpack(run / "summary.zarr.zip"))
    (folder / "cma_organism.png").write_bytes(figure.png)
    (folder / "cma_organism.csv").write_text(figure.csv, encoding="utf-8")
    (folder / "cma_organism.json").write_bytes((run / "manifest.json").read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
