"""Examples of trials: image tokens of every object, and prompt tokens with their marks."""

from __future__ import annotations

from pathlib import Path

import pytest

from finst.experiments.example import context_view, token_views, trial_example
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Picture
from finst.scenes.sets import unique_objects
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import Reader, open_reader
from tests import tiny


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return open_reader(str(tiny.checkpoint(Path(tmp_path_factory.mktemp("example")) / "tiny")))


@pytest.fixture(scope="module")
def picture() -> Picture:
    return draw(unique_objects(Grid(2, 2), "high", 1, 0)[0].scene)


@pytest.fixture(scope="module")
def context(reader: Reader, picture: Picture) -> Encoded:
    return encode(reader, picture, scene_description(picture.scene, [0, 1, 2], 3))


def test_every_object_has_its_image_tokens(picture: Picture, context: Encoded):
    view = context_view("clean", "A scene.", picture, context, picture.scene.objects[3].name, [3])
    assert [cells.name for cells in view.cells] == [obj.name for obj in picture.scene.objects]
    patches = [patch for cells in view.cells for patch in cells.patches]
    assert len(set(patches)) == len(patches) >= 4
    assert (view.target_names, view.image.shape[2]) == ((picture.scene.objects[3].name,), 3)


def test_image_tokens_are_one_view_and_others_have_their_marks(reader: Reader, context: Encoded):
    last = context.tokens.last
    views = token_views(reader, context, {"read": [last], "edited": [last, last - 1]})
    (image,) = [view for view in views if view.kind == "image"]
    assert image.tokens == len(context.tokens.positions("image"))
    assert sum(view.tokens for view in views) == len(context.tokens)
    assert [view.marks for view in views if view.marks] == [("edited",), ("read", "edited")]
    assert views[-1].kind == "last"


def test_a_trial_marks_what_is_read_or_edited(reader: Reader, picture: Picture, context: Encoded):
    example = trial_example(reader, picture, context, picture.scene.objects[3].name, [context.tokens.last], targets=[3])
    assert [token.kind for token in example.tokens if token.marks] == ["last"]
    assert example.grid == context.tokens.grid
