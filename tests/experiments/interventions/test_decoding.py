"""Answers after contexts with edits: in the order given, whatever is decoded together; and their roles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finst.engine.activations import sampled
from finst.engine.edits import unedited
from finst.experiments.interventions.decoding import decode_with_edits, role_of
from finst.prompts import enumeration, scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, on_grid
from finst.scenes.sets import counting_set
from finst.vlm.encode import encode
from finst.vlm.open import VLM, open_vlm
from tests import tiny


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("decoding") / "tiny")), dtype="float64", device="cpu")


def test_texts_come_in_the_order_given_whatever_is_decoded_together(vlm: VLM):
    """Contexts of two lengths in turns, so that some share a recording and others do not."""
    contexts = []
    for index, scene in enumerate(counting_set(6, seed=0)):
        prompt = enumeration(scene, [0]) if index % 3 else scene_description(scene, [0], 1)
        contexts.append(encode(vlm.reader, draw(scene), prompt))
    assert len({len(context.tokens) for context in contexts}) > 1
    rows = [unedited(1 + index % 2) for index in range(len(contexts))]
    together = list(decode_with_edits(vlm, contexts, rows, batch=4, new_tokens=3))
    alone = [next(decode_with_edits(vlm, [c], [r], batch=1, new_tokens=3)) for c, r in zip(contexts, rows, strict=True)]
    assert together == alone
    assert [len(texts) for texts in together] == [1, 2] * 3


def test_words_have_roles():
    roles = {"red": "answer", "blue": "other"}
    texts = ("Red.", "blue star", "reddish", "")
    assert [role_of(text, roles) for text in texts] == ["answer", "other", "none", "none"]


def test_pictures_that_keep_their_shape_are_batched_by_size(tmp_path_factory: pytest.TempPathFactory):
    """Idefics2 has as many tokens for every picture, and takes one size at a time."""
    folder = tiny.checkpoint(tmp_path_factory.mktemp("decoding") / "idefics2", tiny.FAMILIES["idefics2"])
    vlm = open_vlm(str(folder), dtype="float64", device="cpu")
    scenes = [
        on_grid([("red", "circle"), ("blue", "star")], [(0, 0), (0, 1)], Grid(*grid)) for grid in ((2, 2), (1, 3))
    ]
    contexts = [encode(vlm.reader, draw(scene), scene_description(scene, [0], 1)) for scene in (*scenes, scenes[0])]
    assert len({len(context.tokens) for context in contexts}) == 1
    rows = [unedited()] * 3
    together = list(decode_with_edits(vlm, contexts, rows, batch=4, new_tokens=2))
    assert together == [next(decode_with_edits(vlm, [c], [unedited()], batch=1, new_tokens=2)) for c in contexts]
    last = np.array([[context.tokens.last] for context in contexts])
    z = sampled(vlm, contexts, ("z",), last, batch=4).values["z"]
    torch.testing.assert_close(z[0], z[2])
    assert not torch.equal(z[0], z[1])
