"""Renders twelve pictures of the default set and makes one sheet of them: see README.md of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from finst.scenes.renders.environments import ENVIRONMENTS
from finst.scenes.renders.folder import read_sided
from finst.scenes.renders.render import rendering
from finst.scenes.renders.spec import RenderSpec

ACROSS, PX = 4, 224
"""Pictures in a row, and the side of each in px."""


def main(out: Path, file: Path) -> None:
    """Renders into the folder ``out``, and writes the sheet into ``file``."""
    work = rendering(RenderSpec(count=15), out)
    for name in work.left:
        work.render(name)
    work.finish()
    sheet(out).save(file, optimize=True)


def sheet(folder: Path) -> Image.Image:
    """The first pictures of the set at half their size, a row for each environment; with a palette."""
    pictures = read_sided(folder)
    rows = [[filed for filed in pictures if filed.environment == name][:ACROSS] for name in ENVIRONMENTS]
    small = [[np.asarray(Image.fromarray(filed.picture().image).resize((PX, PX))) for filed in row] for row in rows]
    picture = Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in small]))
    palette = picture.quantize(256, method=Image.Quantize.FASTOCTREE, kmeans=4)
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("renders.png"))
