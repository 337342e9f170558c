"""Sentences whose spans index the right words, and the scoring of answers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finst.errors import FinstError
from finst.options import Placement
from finst.prompts import (
    STEPS,
    Prompt,
    Relation,
    colour_retrieval,
    correct,
    enumeration,
    neighbour,
    next_item,
    scene_description,
    spatial_relation,
    spoken_colours,
    words,
)
from finst.scenes.designs import grid_scene
from finst.scenes.object import Grid, Scene, on_grid
from finst.scenes.shapes import COLOURS, SHAPES

seeds = st.integers(0, 2**32 - 1)
placements = st.sampled_from(["prefill", "user_turn"])


def span_texts(prompt: Prompt) -> list[tuple[str, str, int]]:
    return [(prompt.sentence[s.start : s.stop], s.role, s.object) for s in prompt.spans]


def a_scene() -> Scene:
    names = [("red", "square"), ("blue", "circle"), ("green", "star")]
    return on_grid(names, [(0, 0), (0, 1), (1, 1)], Grid(2, 2))


def test_the_papers_sentence_for_two_objects() -> None:
    prompt = scene_description(a_scene(), [0], 1)
    assert prompt.sentence == "In this image there is a red square and a"
    assert prompt.answer == "blue circle"
    assert span_texts(prompt) == [("red", "colour", 0), ("square", "noun", 0), ("and", "comma", 0)]


def test_the_papers_sentence_for_three_objects_in_any_order() -> None:
    prompt = scene_description(a_scene(), [2, 0], 1)
    assert prompt.sentence == "In this image there is a green star, a red square and a"
    assert [s for s in span_texts(prompt) if s[1] == "comma"] == [(",", "comma", 2), ("and", "comma", 0)]


@given(seeds, st.integers(2, 9), placements)
def test_description_spans_are_the_words_of_their_objects(seed: int, count: int, placement: Placement) -> None:
    rng = np.random.default_rng(seed)
    scene = grid_scene(rng, Grid(3, 3), count)
    *described, target = (int(i) for i in rng.permutation(count))
    prompt = scene_description(scene, described, target, placement)
    texts = span_texts(prompt)
    assert [s for s in texts if s[1] == "colour"] == [(scene.objects[i].colour, "colour", i) for i in described]
    assert [s for s in texts if s[1] == "noun"] == [(scene.objects[i].shape, "noun", i) for i in described]
    assert [i for _, role, i in texts if role == "comma"] == described
    assert [text for text, role, _ in texts if role == "comma"] == [","] * (count - 2) + ["and"]
    starts = [(s.start, s.stop) for s in prompt.spans]
    assert all(stop <= start for (_, stop), (start, _) in pairwise(starts))
    assert prompt.answer == scene.objects[target].name
    assert prompt.sentence.endswith(" and a")


@pytest.mark.parametrize(("described", "target"), [([0], 0), ([], 1), ([0, 0], 1), ([0, 1], 1)])
def test_a_description_must_leave_out_its_target(described: list[int], target: int) -> None:
    with pytest.raises(FinstError, match="distinct described objects and another target"):
        scene_description(a_scene(), described, target)


def test_placement_decides_whose_turn_has_the_sentence() -> None:
    begun = scene_description(a_scene(), [0], 1, "prefill")
    assert (begun.user, begun.prefill) == ("Describe the image.", begun.sentence)
    assert begun.continuation("blue") == " blue"
    question = scene_description(a_scene(), [0], 1, "user_turn")
    assert (question.user, question.prefill) == (question.sentence, "")
    assert question.continuation("blue") == "blue"


def test_colour_retrieval() -> None:
    prompt = colour_retrieval(a_scene(), 2)
    assert prompt.sentence == "In this image what is the color of the star. Answer with the correct color only."
    assert (prompt.answer, prompt.placement) == ("green", "user_turn")
    assert span_texts(prompt) == [("star", "noun", 2)]
    twice = on_grid([("red", "star"), ("blue", "star")], [(0, 0), (0, 1)], Grid(2, 2))
    with pytest.raises(FinstError, match="more than one star"):
        colour_retrieval(twice, 0)


def test_spatial_relation() -> None:
    prompt = spatial_relation(a_scene(), "below", 1)
    assert prompt.sentence == (
        "In this image, what is the color of the object that is directly below of the blue circle. "
        "Answer with the relevant color only."
    )
    assert prompt.answer == "green"
    assert span_texts(prompt) == [("blue", "colour", 1), ("circle", "noun", 1)]
    with pytest.raises(FinstError, match="nothing lies directly below of the red square"):
        spatial_relation(a_scene(), "below", 0)
    twins = on_grid([("red", "star"), ("red", "star")], [(0, 0), (0, 1)], Grid(2, 2))
    with pytest.raises(FinstError, match="more than one red star"):
        spatial_relation(twins, "right", 0)


@given(seeds)
def test_neighbours_are_mutual(seed: int) -> None:
    scene = grid_scene(np.random.default_rng(seed), Grid(3, 3), 6)
    opposite: dict[Relation, Relation] = {"above": "below", "below": "above", "left": "right", "right": "left"}
    for index, obj in enumerate(scene.objects):
        for relation, (rows, cols) in STEPS.items():
            other = neighbour(scene, relation, index)
            assert obj.cell is not None
            cell = (obj.cell[0] + rows, obj.cell[1] + cols)
            assert (other is None) == (cell not in [o.cell for o in scene.objects])
            if other is not None:
                assert neighbour(scene, opposite[relation], other) == index


def test_enumeration() -> None:
    prompt = enumeration(a_scene(), [1, 0, 2])
    assert prompt.answer == "1. a blue circle 2. a red square 3. a green star Answer: 3"
    assert prompt.spans == ()
    assert prompt.placement == "user_turn"
    assert correct("1. blue circle\n2. red square\n3. green star\nAnswer: 3", prompt.answer)
    assert not correct("1. blue circle\n2. red square\n3. green star\nAnswer: 4", prompt.answer)


def test_the_next_item_of_a_list() -> None:
    scene = a_scene()
    first, second = scene.objects[1].name, scene.objects[0].name
    prompt = next_item(scene, [1, 0], 2)
    assert prompt.prefill == f"1. a {first} 2. a {second} 3. a"
    assert prompt.continuation(prompt.answer) == f" {scene.objects[2].name}"
    assert prompt.user == enumeration(scene, [0, 1, 2]).user
    words = [prompt.sentence[span.start : span.stop] for span in prompt.spans]
    assert [span.object for span in prompt.spans] == [1, 1, 0, 0]
    assert words == [*first.split(), *second.split()]
    assert next_item(scene, [], 2).prefill == "1. a"
    with pytest.raises(FinstError, match="object 1 is listed already"):
        next_item(scene, [1], 1)


@given(st.sampled_from(list(COLOURS)), st.sampled_from(SHAPES))
def test_scoring_reads_words(colour: str, shape: str) -> None:
    name = f"{colour} {shape}"
    for generated in (
        name,
        f" {name}",
        f"{name}.",
        f"a {name}",
        f"{colour.title()} {shape.upper()}, and a",
        f"\n {name}<|im_end|>",
    ):
        assert correct(generated, name)
    for generated in ("", colour, shape, f"{shape} {colour}", f"{colour}{shape}", f"{colour} {shape}s", f"not {name}"):
        assert not correct(generated, name)


def test_words_and_colours() -> None:
    assert words("There's a Red-square, the 12 STARS!") == ["there", "s", "red", "square", "12", "stars"]
    assert spoken_colours("a red square, then blue; red again and mauve", COLOURS) == ["red", "blue", "red"]
