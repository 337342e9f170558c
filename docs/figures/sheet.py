"""Renders twelve pictures of the default set and makes one sheet of them: see README.md of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from finst.scenes.renders.environments import ENVIRONMENTS
from finst.scenes.renders.folder import read_sided
from finst.scenes.renders.render import RenderSpec, rendering

ACROSS, PX, PALETTE = 4, 224, 128


def main(out: Path, sheet: Path) -> None:
    """A row an environment, from the first pictures of the set, at half their size."""
    work = rendering(RenderSpec(count=15), out)
    for name in work.left:
        work.render(name)
    work.finish()
    images = {
        place: [one.picture().image for one in read_sided(out) if one.environment == place] for place in ENVIRONMENTS
    }
    small = [[Image.fromarray(image).resize((PX, PX)) for image in row[:ACROSS]] for row in images.values()]
    whole = np.concatenate([np.concatenate([np.asarray(image) for image in row], axis=1) for row in small])
    Image.fromarray(whole).quantize(PALETTE, dither=Image.Dither.NONE).save(sheet, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("renders.png"))
