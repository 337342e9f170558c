"""Greedy answers after contexts with edits: the same decoding and budget with and without an edit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from finst.engine.edits import Rows
from finst.engine.generate import generate
from finst.engine.greedy import Generated
from finst.engine.record import record
from finst.prompts import correct
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM

COLOUR_TOKENS = 5
"""New tokens for a colour, in any published tokenizer."""

NOTHING = "none"
"""The role of a text that begins with no word of the scene."""


def decode_with_edits(
    vlm: VLM, contexts: Sequence[Encoded], rows: Sequence[Rows], *, batch: int, new_tokens: int = COLOUR_TOKENS
) -> Iterator[list[str]]:
    """The texts of up to ``new_tokens`` tokens that follow each context, one for each of its own ``rows``, in order."""
    for generated in generate_with_edits(vlm, contexts, rows, batch=batch, new_tokens=new_tokens):
        yield generated.texts(vlm.reader)


def generate_with_edits(
    vlm: VLM, contexts: Sequence[Encoded], rows: Sequence[Rows], *, batch: int, new_tokens: int
) -> Iterator[Generated]:
    """The tokens that follow each context, for each of its own ``rows``, in order.

    Consecutive contexts of equal length (and size, where pictures keep theirs) share a recording of at most ``batch``.
    """
    start = 0
    while start < len(contexts):
        alike = contexts[start].batched_with
        stop = start + 1
        while stop < min(start + batch, len(contexts)) and contexts[stop].batched_with == alike:
            stop += 1
        recording = record(vlm, contexts[start:stop])
        for place, edits in enumerate(rows[start:stop]):
            yield generate(vlm, recording[place], edits, new_tokens)
        start = stop


def role_of(text: str, roles: Mapping[str, str]) -> str:
    """The role of the word (``roles``: role by word) that the text begins with, or ``none``."""
    return next((role for word, role in roles.items() if correct(text, word)), NOTHING)
