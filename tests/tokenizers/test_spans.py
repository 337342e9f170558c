"""Real tokenizers, cut to finst's texts: every word of every prompt has its tokens, in every family's template."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import islice

import pytest

from finst.cli.models import image_tokens
from finst.errors import FinstError
from finst.options import Placement
from finst.prompts import colour_retrieval, scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Scene
from finst.scenes.shapes import COLOURS, SHAPES
from finst.vlm.encode import encode, first_tokens, token_texts
from finst.vlm.families.base import Pixels
from finst.vlm.open import Reader
from finst.vlm.published import SHAPES as PUBLISHED
from tests.tiny import ROWS
from tests.tokenizers.cut import HERE, SOURCES, load
from tests.tokenizers.texts import PLACEMENTS, descriptions, questions, scenes, words

REAL = [pair for row in ROWS.values() for pair in row.real]
"""A tokenizer and a published model that has it."""

PIECES = {
    "qwen": {"hexagon": ["Ġhex", "agon"]},
    "llama2": {
        "purple": ["▁pur", "ple"],
        "pink": ["▁p", "ink"],
        "cyan": ["▁cy", "an"],
        "diamond": ["▁diam", "ond"],
        "hexagon": ["▁hex", "agon"],
    },
    "mistral": {"cyan": ["▁cy", "an"], "hexagon": ["▁hex", "agon"]},
    "gemma3": {},
}
"""The words that are several tokens in a sentence; all others are one token."""

FIRST = {
    ("qwen", "prefill"): {"red": 2518, "purple": 24932},
    ("qwen", "user_turn"): {"red": 1151, "purple": 56507},
    ("llama2", "prefill"): {"red": 2654},
    ("llama2", "user_turn"): {"red": 2654},
    ("mistral", "prefill"): {"red": 2760},
    ("mistral", "user_turn"): {"red": 2760},
}
"""Ids in the whole vocabularies: of words after a space and, at the beginning of a turn, without one."""


KNOWN = set(json.loads((HERE / "words.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def reader_of() -> Callable[[str, str], Reader]:
    """Readers by tokenizer and published model; cached."""
    made: dict[tuple[str, str], Reader] = {}

    def reader(tokenizer: str, shape: str) -> Reader:
        if (tokenizer, shape) not in made:
            family_reader = PUBLISHED[shape].reader(load(HERE / tokenizer))
            family = family_reader.family
            token = family.image_token or family.image_placeholder
            special = {"additional_special_tokens": [token, family.image_placeholder]}
            family_reader.tokenizer.add_special_tokens(special)
            family_reader.config.image_token_id = family_reader.tokenizer.convert_tokens_to_ids(token)
            made[tokenizer, shape] = family_reader
        return made[tokenizer, shape]

    return reader


@pytest.fixture(params=REAL, ids="-".join)
def row(request: pytest.FixtureRequest, reader_of: Callable[[str, str], Reader]) -> tuple[str, Reader]:
    return request.param[0], reader_of(*request.param)


@pytest.fixture
def reader(row: tuple[str, Reader]) -> Reader:
    return row[1]


def pixels_of(reader: Reader, scene: Scene) -> Pixels:
    return reader.family.pixels(reader.config, reader.image_processor, draw(scene).image)


def covered(text: str) -> None:
    """Fails for words on which the cut tokenizer may differ from the whole one."""
    assert words([text]) <= KNOWN, "new words: cut the tokenizers again (tests/tokenizers/cut.py)"


def decoded(reader: Reader, ids: Sequence[int], positions: Sequence[int]) -> str:
    first, *_, last = *positions, positions[-1]
    assert list(positions) == list(range(first, last + 1))
    return "".join(token_texts(reader, ids[first - 1 : last + 1])[1:]).strip()


@pytest.mark.parametrize("name", SOURCES)
def test_words_of_several_tokens(name: str) -> None:
    tokenizer = load(HERE / name)
    for word in (*COLOURS, *SHAPES):
        sentence = f"In this image there is a {word} star"
        pieces = tokenizer.convert_ids_to_tokens(tokenizer(sentence)["input_ids"])
        mark = "Ġ" if name == "qwen" else "▁"
        start = len(pieces) - 1 - pieces[::-1].index(f"{mark}a") + 1
        parts = pieces[start : pieces.index(f"{mark}star", start)] if word != "star" else pieces[start:-1]
        assert parts == PIECES[name].get(word, [mark + word]), word


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_colour_and_shape_has_all_of_its_tokens_and_no_others(reader: Reader, placement: Placement) -> None:
    every = descriptions(placement)
    one_named = list(islice(every, len(COLOURS) * len(SHAPES)))
    assert {scene.objects[0].name for scene, _ in one_named} == {f"{c} {s}" for c in COLOURS for s in SHAPES}
    for scene, prompt in [*one_named, *islice(every, 0, None, len(SHAPES) + 1)]:
        encoded = encode(reader, draw(scene), prompt)
        tokens, ids = encoded.tokens, encoded.input_ids.tolist()
        assert len(tokens) == len(ids)
        for span in prompt.spans:
            positions = tokens.positions(span.role, span.object)
            assert decoded(reader, ids, positions) == prompt.sentence[span.start : span.stop], encoded.text
        assert ids.count(reader.config.image_token_id) == image_tokens(pixels_of(reader, scene))
        assert tokens.last == len(ids) - 1
        covered(encoded.text)


def test_questions_have_their_spans(reader: Reader) -> None:
    for scene, prompt in islice(questions(), 0, None, 7):
        encoded = encode(reader, draw(scene), prompt)
        for span in prompt.spans:
            positions = encoded.tokens.positions(span.role, span.object)
            assert decoded(reader, encoded.input_ids.tolist(), positions) == prompt.sentence[span.start : span.stop]
        covered(encoded.text)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_first_answer_token_is_the_first_generated_token(row: tuple[str, Reader], placement: Placement) -> None:
    """It is the token after the prompt when the whole conversation with its answer is tokenised."""
    name, reader = row
    scene = next(scenes())
    prompt = scene_description(scene, [0], 1) if placement == "prefill" else colour_retrieval(scene, 0)
    first = dict(zip(COLOURS, first_tokens(reader, prompt, list(COLOURS)), strict=True))
    for colour, token in first.items():
        both = encode(reader, draw(scene), prompt, colour)
        answer = both.tokens.positions("answer")
        assert both.input_ids[answer[0]] == token
        assert answer[0] == both.tokens.last + 1
        assert decoded(reader, both.input_ids.tolist(), answer) == colour
    for colour, token in FIRST.get((name, placement), {}).items():
        assert first[colour] == token


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_answers_with_the_same_first_token_are_refused(reader: Reader, placement: Placement) -> None:
    scene = next(scenes())
    prompt = scene_description(scene, [0], 1, placement)
    with pytest.raises(FinstError, match="'purple star' and 'purple cross' begin with the same token"):
        first_tokens(reader, prompt, ["red", "purple star", "purple cross"])
