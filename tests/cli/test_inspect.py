"""The picture of a model's input: the grid where the image tokens are, the words with their spaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from finst.cli.inspect import inspect, token_figure
from finst.cli.options import Inspect
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


def covered_cells(axes: Axes) -> list[tuple[float, float, float, float]]:
    """(left, top, right, bottom) of each cell that shows an object, object by object."""
    drawn = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [(p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height()) for p in drawn]


def test_cells_surround_their_objects(reader: Reader) -> None:
    """In every view: they reach as far as the object's box does, and not a whole cell further."""
    encoded = encode(reader, draw(SCENE), scene_description(SCENE, [0], 1))
    _, *panels, _ = token_figure(reader, draw(SCENE), encoded).axes
    tokens = encoded.tokens
    assert len(panels) == len(tokens.views)
    ends = np.cumsum([view.areas.size for view in tokens.views])
    for axes, coverage in zip(panels, np.split(tokens.coverage, ends[:-1], axis=1), strict=True):
        drawn = covered_cells(axes)
        assert len(drawn) == (0 if tokens.unplaced else (coverage > 0).sum())
        for obj, cells in zip(SCENE.objects if drawn else (), (coverage > 0).sum(axis=1), strict=bool(drawn)):
            mine, drawn = np.array(drawn[:cells]), drawn[cells:]
            size = mine[0, 2:] - mine[0, :2]
            beyond = obj.box[:2] - mine.min(axis=0)[:2], mine.max(axis=0)[2:] - obj.box[2:]
            assert all(((edge >= -1e-6) & (edge < size)).all() for edge in beyond)


def test_cells_are_exactly_the_object_where_it_lies_on_their_borders(tmp_path: Path) -> None:
    reader = open_reader(str(checkpoint(tmp_path, FAMILIES["qwen2_vl"])))
    encoded = encode(reader, draw(SCENE), scene_description(SCENE, [0], 1))
    _, covered, _ = token_figure(reader, draw(SCENE), encoded).axes
    first, second = np.split(np.array(covered_cells(covered)), [(encoded.tokens.coverage[0] > 0).sum()])
    for obj, cells in zip(SCENE.objects, (first, second), strict=True):
        assert [*cells.min(axis=0)[:2], *cells.max(axis=0)[2:]] == pytest.approx(obj.box)


def test_what_has_no_place_says_why(tmp_path: Path) -> None:
    reader = open_reader(str(checkpoint(tmp_path, FAMILIES["idefics2"])))
    encoded = encode(reader, draw(SCENE), scene_description(SCENE, [0], 1))
    _, covered, _ = token_figure(reader, draw(SCENE), encoded).axes
    assert "Idefics2's perceiver mixes all" in " ".join(text.get_text().replace("\n", " ") for text in covered.texts)


def test_grid_lines_end_where_the_model_stops_seeing(reader: Reader) -> None:
    encoded = encode(reader, draw(SCENE), scene_description(SCENE, [0], 1))
    *panels, _ = token_figure(reader, draw(SCENE), encoded).axes
    for axes, view in zip(panels, (encoded.tokens.views[0], *encoded.tokens.views), strict=True):
        ends = np.concatenate([lines.get_segments() for lines in axes.collections]).reshape(-1, 2)  # pyright: ignore
        assert [*ends.min(axis=0), *ends.max(axis=0)] == pytest.approx(view.window)


def test_words_are_drawn_with_their_spaces(reader: Reader) -> None:
    prompt = scene_description(SCENE, [0], 1)
    encoded = encode(reader, draw(SCENE), prompt)
    *_, words = token_figure(reader, draw(SCENE), encoded).axes
    texts = [text.get_text() for text in words.texts if not text.get_text().replace("-", "").isdigit()]
    assert prompt.sentence in "".join(texts).replace("·", " ")
    assert "·red" in texts
    assert f"{encoded.tokens.layout} image tokens" in texts


def test_the_command_writes_it(reader: Reader, tmp_path: Path) -> None:
    out = tmp_path / "tokens.png"
    assert inspect(Inspect(reader.id, out, placement="user_turn")) == out
    assert out.stat().st_size > 10_000
