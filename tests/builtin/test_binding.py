"""The lessons and mixes of the study of causes: every factor changes what it names, and nothing else."""

from itertools import product
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finst.builtin.organism.lessons.binding import (
    FAMILIES,
    PLACED,
    QUESTION_WITH_PLACES,
    LeaveOneOut,
    Places,
    lesson_name,
)
from finst.builtin.organism.lessons.lesson import DESCRIBE_WITH_PLACES, places
from finst.builtin.organism.lessons.mixes import LESSONS, MIXES, factorial_mix, factorial_name, training_lesson
from finst.builtin.organism.lessons.training_scenes import CANVASES, reading_order, training_scene
from finst.builtin.organism.training.recipes import RECIPES
from finst.scenes.object import Grid, on_grid

CAPTIONS = ("some_then_next", "all_but_one", "reading_on", "reading_through")
CELLS = list(product(get_args(LeaveOneOut), get_args(Places)))

seeds = st.integers(0, 2**32 - 1)
grids = st.sampled_from(CANVASES)
kinds = st.sampled_from(get_args(Places))


def pieces_of(lesson):
    return [*lesson.user, *lesson.assistant]


def text_of(pieces):
    return "".join(piece.text for piece in pieces)


def is_caption(lesson):
    """Not of those that point."""
    return "In this image there is a" in text_of(pieces_of(lesson))


def named_in(lesson):
    """Objects of a caption in the order of their names, with whether each is learned."""
    names = {obj.name: index for index, obj in enumerate(lesson.scene.objects)}
    return [(names[p.text.strip()], p.learned) for p in pieces_of(lesson) if p.text.strip() in names]


def made(family, seed, grid, kind):
    rng = np.random.default_rng(seed)
    return FAMILIES[family](rng, training_scene(rng, grid), kind)


@settings(max_examples=60)
@given(seeds, grids, kinds, st.sampled_from(["some_then_next", "reading_on"]))
def test_at_least_two_objects_are_undescribed_whenever_one_is_learned(seed, grid, kind, family):
    lesson = made(family, seed, grid, kind)
    if not is_caption(lesson):
        assert len(lesson.scene.objects) == 2
        return
    described = [index for index, _ in named_in(lesson)]
    learned = [rank for rank, (_, is_learned) in enumerate(named_in(lesson)) if is_learned]
    assert learned
    assert len(set(described)) == len(described)
    assert all(len(lesson.scene.objects) - rank >= 2 for rank in learned)


@settings(max_examples=40)
@given(seeds, grids, kinds)
def test_what_comes_after_some_is_next_in_reading_order(seed, grid, kind):
    lesson = made("some_then_next", seed, grid, kind)
    if not is_caption(lesson):
        return
    *described, target = [index for index, _ in named_in(lesson)]
    order = reading_order(lesson.scene)
    start = order.index(described[-1]) + 1
    assert target == next(index for index in order[start:] + order[:start] if index not in described)
    assert [is_learned for _, is_learned in named_in(lesson)] == [False] * len(described) + [True]


@settings(max_examples=40)
@given(seeds, grids, kinds, st.sampled_from(["reading_on", "reading_through"]))
def test_reading_starts_anywhere_and_stops_before_the_last_or_after_it(seed, grid, kind, family):
    lesson = made(family, seed, grid, kind)
    if not is_caption(lesson):
        return
    described = [index for index, _ in named_in(lesson)]
    order = reading_order(lesson.scene)
    start = order.index(described[0])
    assert described == (order[start:] + order[:start])[: len(described)]
    whole = len(described) == len(order)
    assert whole == (family == "reading_through")


@settings(max_examples=40)
@given(seeds, grids, kinds)
def test_all_but_one_leaves_one(seed, grid, kind):
    lesson = made("all_but_one", seed, grid, kind)
    described = named_in(lesson)
    assert sorted(index for index, _ in described) == list(range(len(lesson.scene.objects)))
    assert [is_learned for _, is_learned in described] == [False] * (len(described) - 1) + [True]


@settings(max_examples=40)
@given(seeds, grids, st.sampled_from(["mixed", "apart"]))
def test_pointing_goes_from_places_to_objects_and_never_to_all(seed, grid, kind):
    lesson = made("pointing", seed, grid, kind)
    described = named_in(lesson)
    assert 1 <= len(described) <= min(4, len(lesson.scene.objects) - 1)
    assert all(is_learned for _, is_learned in described)
    text = text_of(lesson.assistant)
    assert all(f"{places(lesson.scene.objects[i])} a {lesson.scene.objects[i].name}" in text for i, _ in described)


@settings(max_examples=60)
@given(seeds, grids, kinds, st.sampled_from(sorted(FAMILIES)))
def test_places_are_those_of_the_noun_before_them_learned_and_foretold_only_where_apart(seed, grid, kind, family):
    lesson = made(family, seed, grid, kind)
    pieces, objects = pieces_of(lesson), lesson.scene.objects
    placed = [rank for rank, piece in enumerate(pieces) if piece.text.startswith("<|")]
    if kind == "none":
        assert "<|" not in text_of(pieces)
    for rank in placed:
        before = pieces[rank - 1].text
        meant = [obj for obj in objects if places(obj) == pieces[rank].text and before.endswith(f" {obj.shape}")]
        assert meant or pieces[rank + 1].text == " a"
        assert pieces[rank].learned or pieces[rank + 1].text == " a"
    foretold = DESCRIBE_WITH_PLACES in text_of(pieces) or QUESTION_WITH_PLACES in text_of(pieces)
    if kind == "apart":
        assert foretold == ("<|" in text_of(pieces))
    else:
        assert not foretold


def test_as_many_nouns_have_a_place_mixed_and_apart():
    rng = np.random.default_rng(0)
    scene = on_grid(
        [("red", "star"), ("blue", "cross"), ("pink", "heart"), ("gray", "star")], Grid(2, 2).cells, Grid(2, 2)
    )
    shares = {}
    for kind in ("mixed", "apart"):
        lessons = [FAMILIES["all_but_one"](rng, scene, kind) for _ in range(1200)]
        whole = [lesson for lesson in lessons if lesson.user[0].text.startswith("Describe")]
        followed = sum(text_of(lesson.assistant).count("<|x") for lesson in whole if len(lesson.assistant) > 1)
        named = sum(4 for lesson in whole if len(lesson.assistant) > 1)
        shares[kind] = followed / named
        questions = [FAMILIES["colour_question"](rng, scene, kind) for _ in range(600)]
        assert 0.42 < np.mean(["<|x" in text_of(lesson.user) for lesson in questions]) < 0.58
    assert shares["mixed"] == pytest.approx(PLACED, abs=0.05)
    assert shares["apart"] == pytest.approx(PLACED, abs=0.05)


@pytest.mark.parametrize("kind", get_args(Places))
def test_scenes_with_nothing_to_ask_about_have_a_lesson_of_every_family(kind):
    rng = np.random.default_rng(0)
    alike = on_grid([("red", "star"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2))
    for family in FAMILIES.values():
        assert all(any(piece.learned for piece in pieces_of(family(rng, alike, kind))) for _ in range(20))


@pytest.mark.parametrize(("leave_one_out", "kind"), CELLS)
def test_mixes_differ_in_their_factors_and_in_nothing_else(leave_one_out, kind):
    mix = MIXES[factorial_name(leave_one_out, kind)]
    assert mix == factorial_mix(leave_one_out, kind)
    assert sum(mix.values()) == pytest.approx(1)
    captions = sum(mix.get(lesson_name(name, kind), 0) for name in CAPTIONS)
    assert captions == pytest.approx(0.58)
    assert mix["enumeration"] == 0.12
    assert mix[lesson_name("colour_question", kind)] == 0.06
    relations = mix[lesson_name("relation_question", kind)] + mix.get(lesson_name("pointing", kind), 0)
    assert relations == pytest.approx(0.24)
    assert (lesson_name("all_but_one", kind) in mix) == (leave_one_out != "never")


@pytest.mark.parametrize(("leave_one_out", "kind"), CELLS)
def test_captions_of_a_mix_leave_one_object_or_at_least_two(leave_one_out, kind):
    rng = np.random.default_rng(0)
    mix = factorial_mix(leave_one_out, kind)
    left = []
    for grid in CANVASES:
        for lesson in (training_lesson(rng, grid, mix, 0.25) for _ in range(150)):
            if is_caption(lesson):
                learned = [rank for rank, (_, is_learned) in enumerate(named_in(lesson)) if is_learned]
                left.append(len(lesson.scene.objects) - max(learned))
    share = np.mean(np.array(left) == 1)
    assert {"never": share == 0, "some": 0.5 < share < 0.9, "only": share == 1}[leave_one_out]


def test_recipes_of_the_study_differ_in_their_mix_alone():
    studied = {name: recipe for name, recipe in RECIPES.items() if recipe.layers == 6}
    assert studied.keys() == {"binding", "counting", *(factorial_name(*cell) for cell in CELLS)}
    assert len({tuple(v for k, v in vars(recipe).items() if k != "mix") for recipe in studied.values()}) == 1
    assert RECIPES["binding"].mix == MIXES["never-mixed"]
    assert RECIPES["counting"].mix == MIXES["only-none"]
    assert RECIPES.keys() == MIXES.keys()
    assert all(set(recipe.mix) <= set(LESSONS) for recipe in RECIPES.values())
