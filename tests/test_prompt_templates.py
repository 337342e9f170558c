"""Prompts of one's own have the spans that finst's own prompts have."""

from __future__ import annotations

import numpy as np
import pytest

import finst
from finst import FinstError, Prompt, prompt, scene_description
from finst.scenes.object import Grid, on_grid
from finst.vlm.encode import encode

SCENE = on_grid([("red", "square"), ("blue", "circle"), ("green", "star")], Grid(2, 2).cells[:3], Grid(2, 2))
CAT = finst.picture(np.full((56, 56, 3), 255, np.uint8), [(0, 0, 28, 28)], ["cat"])


def test_the_papers_sentence_as_a_template_is_the_papers_prompt() -> None:
    template = "In this image there is a {0.name}{0.comma} a {1.name} and a"
    ours, theirs = prompt(template, SCENE, "{2.name}"), scene_description(SCENE, [0, 1], 2)
    assert (ours.sentence, ours.answer, ours.placement) == (theirs.sentence, theirs.answer, theirs.placement)
    assert list(ours.spans) == [span for span in theirs.spans if (span.role, span.object) != ("comma", 1)]


def test_fields_are_tagged_where_they_stand() -> None:
    made = prompt("Is the {1.noun} {1.colour}? {{yes}}", SCENE, placement="user_turn")
    assert made.sentence == "Is the circle blue? {yes}"
    words = [(made.sentence[span.start : span.stop], span.role, span.object) for span in made.spans]
    assert words == [("circle", "noun", 1), ("blue", "colour", 1)]
    assert isinstance(made, Prompt)


def test_encoding_finds_the_tokens() -> None:
    reader = finst.open_reader("organism")
    made = prompt("In this image what is the color of the {1.noun}. Answer with the correct color only.", SCENE)
    context = encode(reader, finst.draw(SCENE), made)
    (position,) = context.tokens.positions("noun", 1)
    assert reader.tokenizer.decode([int(context.input_ids[position])]) == " circle"


def test_an_object_without_a_colour_is_named_by_its_noun() -> None:
    assert prompt("a {0.name}", CAT).sentence == "a cat"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a {3.name}", "object '3'.*0 to 2"),
        ("a {name}", "object 'name'"),
        ("a {0.size}", "unknown field of an object 'size'.*colour, noun, name, comma"),
        ("a {0.name", "cannot be read"),
    ],
)
def test_unknown_fields_are_refused(template: str, message: str) -> None:
    with pytest.raises(FinstError, match=message):
        prompt(template, SCENE)


def test_a_colour_that_is_not_there_is_refused() -> None:
    with pytest.raises(FinstError, match="'cat', has no colour"):
        prompt("a {0.colour} {0.noun}", CAT)
