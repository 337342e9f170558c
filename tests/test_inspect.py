"""The picture of what a model sees shows it: the grid where the image tokens are, the words with their spaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from finst.inspect import InspectSpec, inspect, token_figure
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, on_grid
from finst.vlm.encode import encode
from finst.vlm.open import Reader, open_reader
from tests.tiny import FAMILIES, checkpoint

SCENE = on_grid([("red", "square"), ("orange", "star")], [(0, 0), (0, 1)], Grid(1, 2))


@pytest.fixture(scope="module", params=FAMILIES)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return open_reader(str(checkpoint(tmp_path_factory.mktemp("inspect"), FAMILIES[request.param])))


def test_cells_surround_their_objects(reader: Reader) -> None:
    """The cells drawn for an object end at the first borders of the grid outside of it, or at its own edges."""
    encoded = encode(reader, draw(SCENE), scene_description(SCENE, [0], 1))
    _, covered, _ = token_figure(reader, draw(SCENE), encoded).axes
    drawn = [patch for patch in covered.patches if isinstance(patch, Rectangle)]
    assert len(drawn) == (encoded.tokens.coverage > 0).sum()
    window, (rows, cols) = np.array(encoded.tokens.window), encoded.tokens.grid
    origin, cell = window[:2], (window[2:] - window[:2]) / (cols, rows)
    for obj, cells in zip(SCENE.objects, (encoded.tokens.coverage > 0).sum(axis=1), strict=True):
        mine, drawn = drawn[:cells], drawn[cells:]
        edges = np.array([(p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height()) for p in mine])
        assert [*edges.min(axis=0)[:2], *edges.max(axis=0)[2:]] == pytest.approx(
            [
                *origin + cell * np.floor((np.array(obj.box[:2]) - origin) / cell + 1e-9),
                *origin + cell * np.ceil((np.array(obj.box[2:]) - origin) / cell - 1e-9),
            ]
        )


def test_grid_lines_end_where_the_model_stops_seeing(reader: Reader) -> None:
    encoded = encode(reader, draw(SCENE), scene_description(SCENE, [0], 1))
    seen, _, _ = token_figure(reader, draw(SCENE), encoded).axes
    ends = np.concatenate([lines.get_segments() for lines in seen.collections]).reshape(-1, 2)  # pyright: ignore
    assert [*ends.min(axis=0), *ends.max(axis=0)] == pytest.approx(encoded.tokens.window)


def test_words_are_drawn_as_they_are_said(reader: Reader) -> None:
    prompt = scene_description(SCENE, [0], 1)
    encoded = encode(reader, draw(SCENE), prompt)
    *_, said = token_figure(reader, draw(SCENE), encoded).axes
    texts = [text.get_text() for text in said.texts if not text.get_text().replace("-", "").isdigit()]
    assert prompt.sentence in "".join(texts).replace("·", " ")
    assert "·red" in texts
    rows, cols = encoded.tokens.grid
    assert f"{rows}×{cols} image tokens" in texts


def test_the_command_writes_it(reader: Reader, tmp_path: Path) -> None:
    out = tmp_path / "tokens.png"
    assert inspect(InspectSpec(reader.id, out, placement="user_turn")) == out
    assert out.stat().st_size > 10_000
