"""Renders twelve pictures of the default set and makes one sheet of them: see README.md of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from finst.scenes.renders.environments import ENVIRONMENTS
from finst.scenes.renders.folder import read_sided
from finst.scenes.renders.spec import RenderSpec
from finst.scenes.renders.render import rendering

ACROSS, PX = 4, 224


def main(out: Path, file: Path) -> None:
    """Into the folder ``out``, and from there into ``file``."""
    work = rendering(RenderSpec(count=15), out)
    for name in work.left:
        work.render(name)
    work.finish()
    sheet(out).save(file, optimize=True)


def sheet(folder: Path) -> Image.Image:
    """A row an environment, of the first pictures of the set, at half their size and with a palette."""
    rows = [[one for one in read_sided(folder) if one.environment == place][:ACROSS] for place in ENVIRONMENTS]
    small = [[Image.fromarray(one.picture().image).resize((PX, PX)) for one in row] for row in rows]
    whole = np.concatenate([np.concatenate([np.asarray(image) for image in row], axis=1) for row in small])
    picture = Image.fromarray(whole)
    palette = picture.quantize(256, method=Image.Quantize.FASTOCTREE, kmeans=4)
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("renders.png"))
