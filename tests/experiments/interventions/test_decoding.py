"""Answers after contexts with edits: in the order given, whatever is decoded together; and their roles."""

from __future__ import annotations

import pytest

from finst.engine.edits import unedited
from finst.experiments.interventions.decoding import decode_with_edits, role_of
from finst.prompts import enumeration, scene_description
from finst.scenes.draw import draw
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
