"""Items of generated lists, and when two of them are one thing."""

from __future__ import annotations

import pytest

from finst.experiments.interventions.coco.noun_phrases import annotated, core, head, items, phrase, same


@pytest.mark.parametrize(
    ("text", "first", "found"),
    [
        (" dog 2. a cat 3. a red ball.", 1, {1: "dog", 2: "cat", 3: "red ball"}),
        (" cat 3. a dog", 2, {2: "cat", 3: "dog"}),
        (" woman holding an umbrella, and 2. another man", 1, {1: "woman holding an umbrella", 2: "man"}),
        ("nother dog on a bench. 3. a", 2, {2: "dog on a bench", 3: "a"}),
        ("n elephant\n2) two people", 1, {1: "elephant", 2: "two people"}),
        ("In this image there is 1. a dog 2. a cat", 2, {1: "dog", 2: "cat"}),
        ("1. a dog 2. the cat", 2, {1: "dog", 2: "cat"}),
        (" red heart Answer: 2", 2, {2: "red heart"}),
        (" bus no. 12", 1, {1: "bus no"}),
        (" Dog 2. a cat 2. a bird", 1, {1: "dog", 2: "cat"}),
        ("<|x3|> dog", 1, {1: ""}),
        (" ", 1, {}),
    ],
)
def test_items_are_read_by_their_numbers(text: str, first: int, found: dict[int, str]):
    assert items(text, first) == found


def test_a_letter_is_an_article_only_as_a_word():
    assert phrase("nothing") == "nothing"
    assert phrase("antelope") == "antelope"
    assert phrase("ñandú, a bird") == "ñandú"
    assert phrase("T-shirt (blue)") == "t-shirt"


@pytest.mark.parametrize(
    ("phrase", "noun"),
    [
        ("woman holding an umbrella", "woman"),
        ("bride and groom cutting a cake", "bride"),
        ("slice of pizza", "slice"),
        ("tall building", "building"),
        ("standing man", "man"),
        ("traffic lights", "light"),
        ("two people", "person"),
        ("in", "in"),
        ("", ""),
    ],
)
def test_the_head_noun_is_the_last_word_before_the_first_joint(phrase: str, noun: str):
    assert head(phrase) == noun


@pytest.mark.parametrize(
    ("plural", "folded"),
    [
        *[("dogs", "dog"), ("buses", "bus"), ("glasses", "glass"), ("horses", "horse"), ("boxes", "box")],
        *[("benches", "bench"), ("puppies", "puppy"), ("ties", "tie"), ("women", "woman"), ("grass", "grass")],
    ],
)
def test_plurals_are_folded(plural: str, folded: str):
    assert core(plural) == [folded]


def test_two_phrases_are_one_thing_by_either_rule():
    assert same("woman", "woman holding an umbrella") == (False, True)
    assert same("red circle", "red circle") == (True, True)
    assert same("red circle", "red square") == (False, False)
    assert same("", "") == (False, False)


def test_what_is_named_may_be_annotated():
    there = ("dining table", "person", "traffic light")
    assert annotated("man riding a horse", there)
    assert annotated("red traffic lights", there)
    assert annotated("wooden table with plates", there)
    assert not annotated("light", there)
    assert not annotated("horse", there)
    assert not annotated("", there)
    assert annotated("red circle", ("red circle", "blue star"))
