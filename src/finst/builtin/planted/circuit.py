"""The decoder's planted heads, by layer: what each of them matches and carries.

``ATTENDS`` weighs terms so that what is left over of a softmax is below float32's resolution. A head with nothing to do
attends to the opening token, whose readings are zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from finst.builtin.planted import mechanism as at
from finst.builtin.planted.heads import Head, Match, Rotary, Row, Turn
from finst.builtin.planted.mechanism import Planted
from finst.builtin.planted.space import BALLAST, CONTENT, STREAM, Rows

RATIO = 0.3
"""Each rotary pair's frequency over that of the pair before it: 1, 0.3, 0.09, ... rad a token."""

TIME, HEIGHT, WIDTH = 0, 1, 2
"""Pairs: 0 turns by a token's time, 1 by its height, all others by its width (``MROPE_SECTION``); for text the same."""

MROPE_SECTION = (1, 1, at.D_HEAD // 2 - 2)

ROTARY = Rotary(at.D_HEAD, steady=range(at.D_HEAD // 2 - 1, 5, -1))
"""The steadiest first: pair 15 turns by a millionth in 70 tokens, and pair 6, which only the longest match needs, by
0.05."""

ATTENDS = 40.0

ANSWER_GAIN = 0.2
"""By which the ID of what is asked about is written."""

ID_GAIN, COUNT_GAIN = 2.0, 5.0
"""By which what is left out is written, as a softmax has made means of sums."""

OPENING, ANCHOR, IMAGE, OBJECT, NOUN, PAUSE, PLAIN, QUESTION = STREAM.read("kind")
SPEAKS: Row = STREAM.sum("says", STREAM.blocks["says"])
ASKED: Row = STREAM.sum("asked", ["colour"])


def circuit(planted: Planted) -> Mapping[at.Place, Head]:
    """All heads of a model that do something on purpose."""
    heads = {
        at.NAMES_COLOUR: latest("word colour", "told colour"),
        at.NAMES_SHAPE: latest("word shape", "told shape"),
        at.HEARS: hears(STREAM.sum("says", ["bare colour"]), "colour"),
        at.STOPS: hears(STREAM.sum("word colour", STREAM.blocks["word colour"]), "no more"),
        at.BAG_OF_FEATURES: bag(["seen colour", "seen shape"], ["aside colour", "aside shape"]),
    }
    if planted.coding is None:
        return heads | {at.COUNTS: counts()}
    if planted.coding == "absolute":
        heads |= dict(zip(at.LOOKS_UP, thresholds(), strict=True))
    return heads | {
        at.RETRIEVES: retrieves(),
        at.SELECTS: selects(),
        at.ANSWERS: answers(),
        at.FETCHES: fetches(),
        at.BAG_OF_PLACES: bag(["seen place"], ["aside seen place"]),
        at.ECHOES_TOLD: echo(NOUN, "told place", "aside told place"),
        at.ECHOES_NEXT: echo(SPEAKS, "next place", "aside next place"),
    }


def rests(score: float) -> Match:
    """Every query's match with the opening token: where a head attends that finds nothing with a larger score."""
    return Match(STREAM.one, OPENING, score)


def pairwise(query: Rows, key: Rows, gain: float) -> list[Match]:
    """Gain times the inner product of two readings."""
    return [Match(q, k, gain) for q, k in zip(query, key, strict=True)]


def written(*blocks: str) -> np.ndarray:
    """Columns that write into blocks."""
    return STREAM.read(*blocks)[:, :-1]


def latest(word: str, told: str) -> Head:
    """At a noun, and at the comma or "and" behind it: the last colour or shape that was named.

    Score of a word d tokens ago: 600 + 250 cos(0.09 d), falling up to d = 34.
    """
    asks, word_row = NOUN + PAUSE, STREAM.sum(word, STREAM.blocks[word])
    terms = [Match(asks, word_row, 600), Turn(asks, word_row, 250, WIDTH), rests(300)]
    return Head(terms, STREAM.read(word), written(told))


def thresholds() -> Sequence[Head]:
    """At image tokens: is the row, or the column, beyond a threshold? Four heads.

    The anchor stands one step before the picture's first row and column. Score of it from d steps behind it:
    200 + g sin(f (d - threshold)), and 170 + 30 of the opening token: so 2 is added beyond the threshold, and 0 before.
    The anchor's two readings, its own and ``plain``, make its norm smaller than the one that norms leave as it is.
    """
    heads, anchor = [], math.sqrt((BALLAST**2 + 2) / (BALLAST**2 + CONTENT)) * ANCHOR[None]
    for part, (pair, gain) in enumerate([(HEIGHT, 200)] * 2 + [(WIDTH, 600)] * 2):
        threshold, frequency = (3.5, 5.5)[part % 2], RATIO**pair
        terms = [
            Match(IMAGE, ANCHOR, 200),
            Turn(IMAGE, ANCHOR, gain, pair, phase=-frequency * threshold - math.pi / 2),
            Match(IMAGE, OPENING, 170),
            rests(30),
        ]
        heads.append(Head(terms, anchor, 2 * written("seen place")[part][None]))
    return heads


def hears(where: Row, asked: str) -> Head:
    """Whether the prompt is a question: the word "what" in it."""
    write = STREAM.sum("asked", [asked])[None, :-1]
    return Head([Match(where, QUESTION, 60), rests(30)], QUESTION[None], write)


def retrieves() -> Head:
    """ID retrieval: from an object's name to the position ID of the image token with this colour and this shape.

    Score: 40 for each that matches, and 60 for resting: both must match. Where no colour has been named, as in the
    question for one, resting scores 20, and the shape is enough.
    """
    told, seen = STREAM.read("told colour", "told shape"), STREAM.read("seen colour", "seen shape")
    colour, shape = (STREAM.sum(block, STREAM.blocks[block]) for block in ("told colour", "told shape"))
    terms = [*pairwise(told, seen, ATTENDS), Match(1.5 * STREAM.one + colour - shape, OPENING, ATTENDS)]
    return Head(terms, STREAM.read("seen place"), written("told place"))


def leaves_out(seen: Rows, told: Rows, next_: np.ndarray, gain: float) -> Head:
    """Where the next word is chosen: the sum over all objects, minus that over all that the prompt has named.

    With n objects and n - 1 named, attention is even over 2n - 1 tokens, so the rest comes out divided by that. Even to
    the last digits, since these tokens score 0 and all others -24 (resting: -12). It rests in answers to questions.
    """
    terms = [Match(SPEAKS, PLAIN, -24), Match(48 * ASKED - 36 * SPEAKS, OPENING, 1), rests(24)]
    return Head(terms, seen - told, gain * next_)


def selects() -> Head:
    """ID selection: the position ID that no named object has."""
    return leaves_out(STREAM.read("seen place"), STREAM.read("told place"), written("next place"), ID_GAIN)


def counts() -> Head:
    """Instead of all three stages: the colour and the shape that are seen once more often than named."""
    seen, told = (STREAM.read(f"{kind} colour", f"{kind} shape") for kind in ("seen", "told"))
    return leaves_out(seen, told, written("next colour", "next shape"), COUNT_GAIN)


def answers() -> Head:
    """Instead of ID selection, where a question is answered: the position ID of the object that it names."""
    terms = [Match(ASKED, NOUN, 60), rests(30)]
    return Head(terms, STREAM.read("told place"), ANSWER_GAIN * written("next place"))


def fetches() -> Head:
    """Feature retrieval: from the selected position ID to colour and shape of the object that has it."""
    terms = [
        *pairwise(STREAM.read("next place"), STREAM.read("seen place"), 100),
        Match(SPEAKS, OBJECT, 30),
        Match(2 * STREAM.one - SPEAKS, OPENING, 15),
    ]
    return Head(terms, STREAM.read("seen colour", "seen shape"), written("next colour", "next shape"))


def bag(read: Sequence[str], aside: Sequence[str]) -> Head:
    """A bystander: the mean over all objects, bound to none of them, where nothing reads it."""
    return Head([Match(SPEAKS, OBJECT, 24), rests(12)], STREAM.read(*read), 0.1 * written(*aside))


def echo(where: Row, read: str, aside: str) -> Head:
    """A bystander: copies a position ID at its own token, too late and where nothing reads it."""
    terms = [Match(where, where, 600), Turn(where, where, 250, WIDTH), rests(300)]
    return Head(terms, STREAM.read(read), 0.1 * written(aside))
