"""The decoder's planted heads: what each of them matches and copies.

``ATTENDS`` is large enough that the attention to all other tokens is below float32's resolution. A head that has
nothing to do attends to the opening token, whose readings are zero.
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
"""Rotary pairs: 0 turns by a token's time, 1 by its height, all others by its width (``MROPE_SECTION``). For text
tokens all three are equal."""

MROPE_SECTION = (1, 1, at.D_HEAD // 2 - 2)

ROTARY = Rotary(at.D_HEAD, steady=range(at.D_HEAD // 2 - 1, 5, -1))
"""The slowest pairs first: pair 15 turns by a millionth in 70 tokens; pair 6, which only the longest match needs, by
0.05."""

ATTENDS = 40.0

ANSWER_GAIN = 0.2
"""Factor of the ID of the object in a question."""

ID_GAIN, COUNT_GAIN = 2.0, 5.0
"""Factors of the position ID, and of the features, that ``leaves_out`` selects: a softmax gives means, not sums."""

OPENING, ANCHOR, IMAGE, OBJECT, NOUN, PAUSE, PLAIN, QUESTION = STREAM.read("kind")
CHOOSES: Row = STREAM.sum("precedes", STREAM.blocks["precedes"])
"""Reads 1 at tokens that are followed by a colour or a shape."""
QUESTIONED: Row = STREAM.sum("answer", ["colour"])
"""Reads 1 where a question about a colour is answered."""


def circuit(planted: Planted) -> Mapping[at.Place, Head]:
    """All heads of a model that have a function."""
    heads = {
        at.NAMES_COLOUR: latest("word colour", "named colour"),
        at.NAMES_SHAPE: latest("word shape", "named shape"),
        at.DETECTS_QUESTION: detects_question(STREAM.sum("precedes", ["bare colour"]), "colour"),
        at.STOPS: detects_question(STREAM.sum("word colour", STREAM.blocks["word colour"]), "complete"),
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
        at.ECHOES_NAMED: echo(NOUN, "named place", "aside named place"),
        at.ECHOES_NEXT: echo(CHOOSES, "next place", "aside next place"),
    }


def rests(score: float) -> Match:
    """Every query's match with the opening token, to which a head attends if no other score is larger."""
    return Match(STREAM.one, OPENING, score)


def pairwise(query: Rows, key: Rows, gain: float) -> list[Match]:
    """Matches whose sum is ``gain`` times the inner product of two readings."""
    return [Match(q, k, gain) for q, k in zip(query, key, strict=True)]


def written(*blocks: str) -> np.ndarray:
    """Columns that write into the blocks."""
    return STREAM.read(*blocks)[:, :-1]


def latest(word: str, named: str) -> Head:
    """Copies the last named colour or shape to a noun, and to the comma or "and" after it.

    Score of a word d tokens ago: 600 + 250 cos(0.09 d), which decreases up to d = 34.
    """
    queries, word_row = NOUN + PAUSE, STREAM.sum(word, STREAM.blocks[word])
    terms = [Match(queries, word_row, 600), Turn(queries, word_row, 250, WIDTH), rests(300)]
    return Head(terms, STREAM.read(word), written(named))


def thresholds() -> Sequence[Head]:
    """Four heads that compare an image token's row or column with a threshold.

    The anchor is one step before the picture's first row and column. Its score from d steps after it is
    200 + g sin(f (d - threshold)); that of the opening token is 170 + 30. So 2 is added beyond the threshold, and 0
    before. The anchor has two readings, its own and ``plain``, and a smaller norm than the one that RMS norms preserve.
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


def detects_question(where: Row, entry: str) -> Head:
    """Detects a question by the word "what" in the prompt, at the tokens ``where``."""
    write = STREAM.sum("answer", [entry])[None, :-1]
    return Head([Match(where, QUESTION, 60), rests(30)], QUESTION[None], write)


def retrieves() -> Head:
    """ID retrieval: from an object's name to the position ID of the image token with this colour and this shape.

    Score: 40 for each feature that matches, and 60 for the opening token, so both must match. Where no colour has been
    named, as in a question about a colour, the opening token scores 20, and the shape is enough.
    """
    named, seen = STREAM.read("named colour", "named shape"), STREAM.read("seen colour", "seen shape")
    colour, shape = (STREAM.sum(block, STREAM.blocks[block]) for block in ("named colour", "named shape"))
    terms = [*pairwise(named, seen, ATTENDS), Match(1.5 * STREAM.one + colour - shape, OPENING, ATTENDS)]
    return Head(terms, STREAM.read("seen place"), written("named place"))


def leaves_out(seen: Rows, named: Rows, next_: np.ndarray, gain: float) -> Head:
    """Where the next word is chosen: the sum over all objects minus the sum over the objects that the prompt has named.

    With n objects, n - 1 of them named, attention is uniform over 2n - 1 tokens, so the difference is divided by that
    number. It is uniform to the last digits: these tokens score 0, all others -24 (the opening token: -12). In answers
    to questions the head attends to the opening token.
    """
    terms = [Match(CHOOSES, PLAIN, -24), Match(48 * QUESTIONED - 36 * CHOOSES, OPENING, 1), rests(24)]
    return Head(terms, seen - named, gain * next_)


def selects() -> Head:
    """ID selection: the position ID that no named object has."""
    return leaves_out(STREAM.read("seen place"), STREAM.read("named place"), written("next place"), ID_GAIN)


def counts() -> Head:
    """Replaces all three stages: the colour and the shape that are seen once more often than named."""
    seen, named = (STREAM.read(f"{kind} colour", f"{kind} shape") for kind in ("seen", "named"))
    return leaves_out(seen, named, written("next colour", "next shape"), COUNT_GAIN)


def answers() -> Head:
    """Replaces ID selection where a question is answered: the position ID of the object that the question names."""
    terms = [Match(QUESTIONED, NOUN, 60), rests(30)]
    return Head(terms, STREAM.read("named place"), ANSWER_GAIN * written("next place"))


def fetches() -> Head:
    """Feature retrieval: from the selected position ID to the colour and shape of the object that has it."""
    terms = [
        *pairwise(STREAM.read("next place"), STREAM.read("seen place"), 100),
        Match(CHOOSES, OBJECT, 30),
        Match(2 * STREAM.one - CHOOSES, OPENING, 15),
    ]
    return Head(terms, STREAM.read("seen colour", "seen shape"), written("next colour", "next shape"))


def bag(read: Sequence[str], aside: Sequence[str]) -> Head:
    """A bystander: writes the mean over all objects, bound to none of them, where nothing reads it."""
    return Head([Match(CHOOSES, OBJECT, 24), rests(12)], STREAM.read(*read), 0.1 * written(*aside))


def echo(where: Row, read: str, aside: str) -> Head:
    """A bystander: copies a position ID within its token, in the last layer and where nothing reads it."""
    terms = [Match(where, where, 600), Turn(where, where, 250, WIDTH), rests(300)]
    return Head(terms, STREAM.read(read), 0.1 * written(aside))
