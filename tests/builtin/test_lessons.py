"""What the organism is taught, and how lessons become tokens."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finst.builtin.organism.architecture import patch_grid
from finst.builtin.organism.families import ARCHITECTURES
from finst.builtin.organism.lessons.descriptions import colours, proceed, shapes
from finst.builtin.organism.lessons.lesson import Piece, caption, placed, places
from finst.builtin.organism.lessons.mixes import LESSONS, MIXES, training_lesson
from finst.builtin.organism.lessons.training_scenes import reading_order, training_scene
from finst.builtin.organism.qwen2_vl import Qwen2VL
from finst.builtin.organism.training.batches import IGNORED, Writer, collate, longest
from finst.errors import FinstError
from finst.scenes.object import Grid, on_grid

TOKENIZER = Qwen2VL().build_tokenizer()
WRITER = Writer(Qwen2VL())
WRITERS = tuple(Writer(architecture) for architecture in ARCHITECTURES)

seeds = st.integers(0, 2**32 - 1)


def text_of(pieces):
    return "".join(piece.text for piece in pieces)


written = st.sampled_from([(writer, grid) for writer in WRITERS for grid in writer.architecture.grids])


@settings(deadline=None, max_examples=60)
@given(seeds, written, st.sampled_from(sorted(LESSONS)))
def test_tokens_of_the_pieces_are_the_tokens_of_the_rendered_conversation(seed, written, kind):
    writer, grid = written
    architecture, rng = writer.architecture, np.random.default_rng(seed)
    tokenizer = architecture.build_tokenizer()
    lesson = LESSONS[kind](rng, training_scene(rng, grid))
    ids, labels = writer.tokens(lesson)
    content: Any = [{"type": "image"}, {"type": "text", "text": text_of(lesson.user)}]
    turns = [{"role": "user", "content": content}]
    rendered = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    rows, cols = patch_grid(architecture, grid.width, grid.height)
    seen = rendered.replace(architecture.image_placeholder, architecture.image_placeholder * (rows * cols))
    gap = " " if rendered.endswith(":") else ""
    assert ids == tokenizer.encode(seen + gap + text_of(lesson.assistant) + tokenizer.eos_token)
    assert len(ids) <= longest(architecture, grid)
    learned = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
    said = [replace(lesson.assistant[0], text=gap + lesson.assistant[0].text), *lesson.assistant[1:]]
    pieces = [*lesson.user, *said, Piece(tokenizer.eos_token, learned=True)]
    text = text_of(piece for piece in pieces if piece.learned)
    assert learned == tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.unk_token_id not in ids


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_proceed_goes_on_with_the_next_undescribed_object_in_reading_order(seed):
    rng = np.random.default_rng(seed)
    scene = training_scene(rng, Grid(3, 3))
    lesson = proceed(rng, scene)
    said = text_of(piece for piece in (*lesson.user, *lesson.assistant) if not piece.learned)
    answer = next(piece.text.strip() for piece in lesson.assistant if piece.learned)
    order = [scene.objects[i].name for i in reading_order(scene)]
    described = sorted((name for name in order if f"a {name}" in said), key=said.index)
    assert answer not in described
    start = order.index(described[-1]) + 1
    ahead = [name for name in order[start:] + order[:start] if name not in described]
    assert answer == ahead[0]


@pytest.mark.parametrize(("lesson_of", "feature"), [(colours, "colour"), (shapes, "shape")])
def test_lessons_of_one_feature_learn_it_and_nothing_else(lesson_of, feature):
    rng = np.random.default_rng(0)
    scene = on_grid([("red", "star"), ("blue", "cross"), ("pink", "star")], [(0, 0), (0, 1), (1, 0)], Grid(2, 2))
    lessons = [lesson_of(rng, scene) for _ in range(40)]
    values = [getattr(obj, feature) for obj in scene.objects]
    for lesson in lessons:
        (first,) = [piece.text.strip() for piece in lesson.assistant if piece.text.strip() in values][:1]
        start = values.index(first)
        assert values.count(first) == 1
        learned = [piece.text.strip() for piece in lesson.assistant if piece.learned]
        assert learned == (values[start:] + values[:start])[1:]
    assert {lesson.unnamed for lesson in lessons} == {None, "shape" if feature == "colour" else "colour"}


def test_places_name_the_patch_of_the_centre():
    scene = on_grid([("red", "square"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2))
    assert [places(obj) for obj in scene.objects] == ["<|x3|><|y3|>", "<|x7|><|y7|>"]
    said = text_of(caption(scene, [0, 1], [False, True], placed))
    assert said == "In this image there is a red square<|x3|><|y3|> and a blue star<|x7|><|y7|>"


def test_a_space_makes_another_token_as_in_large_models():
    assert TOKENIZER.encode(" red") != TOKENIZER.encode("red")
    text = "In this image there is a red square<|x3|><|y10|>, a blue star and a"
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_the_shares_of_a_mix_sum_to_one(mix):
    assert sum(mix.values()) == pytest.approx(1)
    assert set(mix) <= set(LESSONS)


def test_an_unknown_lesson_is_refused_by_name():
    with pytest.raises(FinstError, match=r"unknown lesson 'songs'.*describe"):
        training_lesson(np.random.default_rng(0), Grid(2, 2), {"songs": 1.0})


def test_padding_carries_no_loss():
    rng = np.random.default_rng(0)
    lessons = [training_lesson(rng, Grid(2, 2), MIXES["finishing"]) for _ in range(5)]
    batch = collate(lessons, WRITER, longest(Qwen2VL(), Grid(2, 2)))
    for row, lesson in enumerate(lessons):
        ids, labels = WRITER.tokens(lesson)
        assert batch.input_ids[row, : len(ids)].tolist() == ids
        assert batch.labels[row, : len(ids)].tolist() == labels
        assert (batch.labels[row, len(ids) :] == IGNORED).all()
        assert all(token == TOKENIZER.pad_token_id for token in batch.input_ids[row, len(ids) :].tolist())
