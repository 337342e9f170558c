"""Parts of the planted models: named coordinates, heads from matches and turns, words and pixels."""

from __future__ import annotations

import numpy as np
import pytest

from finst.builtin.planted.decoder import embeddings, idle, meaning, unembeddings
from finst.builtin.planted.heads import Head, Match, Matrices, Rotary, Turn, matrices
from finst.builtin.planted.space import BALLAST, STREAM, Space
from finst.builtin.planted.tower import FEATURES, PAINT, absorbed, mirrored, unmixed
from finst.errors import FinstError
from finst.scenes.object import OBJECT_PX
from finst.scenes.shapes import COLOURS, SHAPES, coverage

SPACE = Space({"a": ("x", "y"), "b": ("z",)}, width=5)
FREQUENCIES = np.array([1.0, 0.3, 0.0, 0.0])
"""Rotary frequencies of a head of 8 entries: two pairs that turn and two that do not."""


def test_blocks_are_coordinates_in_order() -> None:
    assert (SPACE.dims("a"), SPACE.dims("b")) == ((0, 1), (2,))
    x = np.array([1.0, 2.0, 3.0, 0.0, 0.0, 1.0])
    assert (SPACE.read("b", "a") @ x).tolist() == [3, 1, 2]
    assert (SPACE.sum("a", ["y"]) @ x, SPACE.sum("a", ["x", "y"]) @ x, SPACE.one @ x) == (2, 3, 1)
    with pytest.raises(FinstError, match="unknown block 'c': expected one of a, b"):
        SPACE.dims("c")


def turned(x: np.ndarray, position: float) -> np.ndarray:
    """The rotary embedding of a vector of 8 entries, in pairs (j, j + 4)."""
    first, second, angle = x[:4], x[4:], position * FREQUENCIES
    return np.concatenate(
        [first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle)]
    )


def score(made: Matrices, query: np.ndarray, key: np.ndarray, at: float, key_at: float) -> float:
    return turned(made.q @ query, at) @ turned(made.k @ key, key_at) / np.sqrt(8)


@pytest.mark.parametrize(("at", "key_at"), [(0, 0), (7, 3), (3, 7)])
def test_a_heads_score_is_the_sum_of_its_terms(at: float, key_at: float) -> None:
    query, key = np.array([2.0, 0, 1, 0, 0, 1]), np.array([0, 3.0, 1, 0, 0, 1])
    x, y, z, one = *(SPACE.read("a")), SPACE.read("b")[0], SPACE.one
    terms = [Match(x, y, 5.0), Match(one, z, -2.0), Turn(z, one, 4.0, 0), Turn(x, y, 1.5, 1, phase=0.7)]
    made = matrices(Head(terms, SPACE.read("a"), np.eye(2, 5)), Rotary(8, steady=(3, 2)))
    distance = at - key_at
    expected = 5 * 2 * 3 - 2 + 4 * np.cos(distance) + 1.5 * 2 * 3 * np.cos(0.3 * distance + 0.7)
    assert score(made, query, key, at, key_at) == pytest.approx(expected)


def test_a_heads_readings_are_written_along_their_columns() -> None:
    writes = np.array([[0, 0, 1.0, 0, 0], [0, 0, 0, 2.0, 0]])
    made = matrices(Head([Match(SPACE.one, SPACE.one, 1.0)], SPACE.read("a"), writes), Rotary(8, steady=(3,)))
    assert (made.o @ made.v @ np.array([5.0, 7, 0, 0, 0, 1])).tolist() == [0, 0, 5, 14, 0]


def test_steady_pairs_take_two_contents_each() -> None:
    assert Rotary(8, steady=(3, 2)).slots == (3, 7, 2, 6)


def test_idle_heads_write_almost_nothing_where_nothing_reads() -> None:
    made, again = idle((2, 3)), idle((2, 3))
    assert np.array_equal(made.o, again.o)
    assert 0 < np.abs(made.o).max() < 1e-3
    assert set(np.flatnonzero(np.abs(made.o).sum(axis=1))) <= set(STREAM.dims("noise"))
    assert not np.array_equal(made.q, idle((2, 4)).q)


def test_words_go_in_and_come_out_by_their_meaning() -> None:
    words = [f" {word}" for word in (*COLOURS, *SHAPES)] + [*COLOURS, " a", "\n", ",", "<|im_end|>", "<|im_start|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    read_in, read_out = embeddings(vocabulary), unembeddings(vocabulary)
    assert (read_in[:, STREAM.dims("ballast")] == BALLAST).all()
    for colour in COLOURS:
        assert meaning(f" {colour}") == {"word colour": colour, "precedes": "shape"}
        state = STREAM.sum("precedes", ["spaced colour"]) + STREAM.sum("next colour", [colour])
        assert words[int((read_out @ state[:-1]).argmax())] == f" {colour}"
        state = STREAM.sum("precedes", ["bare colour"]) + STREAM.sum("next colour", [colour])
        assert words[int((read_out @ state[:-1]).argmax())] == colour
    for shape in SHAPES:
        state = STREAM.sum("precedes", ["shape"]) + STREAM.sum("next shape", [shape])
        assert words[int((read_out @ state[:-1]).argmax())] == f" {shape}"


@pytest.mark.parametrize(("colour", "shape"), [("red", "circle"), ("yellow", "star"), ("gray", "hexagon")])
def test_the_patch_embedding_separates_shape_and_colour(colour: str, shape: str) -> None:
    patch = coverage(shape, OBJECT_PX, OBJECT_PX).ravel()
    pixels = np.concatenate([1 - patch * channel for channel in absorbed(colour)])  # white is 1 here
    paint = (unmixed() @ (pixels - 1))[list(FEATURES.dims("paint"))].reshape(len(SHAPES), 3)
    expected = np.zeros((len(SHAPES), 3))
    expected[SHAPES.index(shape)] = PAINT * absorbed(colour)
    assert np.abs(paint - expected).max() < 1e-3 * PAINT


def test_features_are_stored_with_their_negatives() -> None:
    assert mirrored(np.array([[1.0, 2.0]])).tolist() == [[1, 2], [-1, -2]]
