"""Prompts of one's own, with the words about objects tagged: what ``finst.prompt`` makes."""

from __future__ import annotations

from string import Formatter

from finst.errors import FinstError, choice
from finst.options import Placement
from finst.prompts import DESCRIBE, Prompt, Span, SpanRole
from finst.scenes.object import Obj, Picture, Scene

FIELDS = ("colour", "noun", "name", "comma")
"""What a template can write of an object: its colour, its noun, both, or a comma that is tagged as following it."""


def prompt(
    template: str,
    shown: Picture | Scene,
    answer: str = "",
    *,
    placement: Placement = "prefill",
    instruction: str = DESCRIBE,
) -> Prompt:
    """A sentence with ``{0.colour}``, ``{0.noun}``, ``{0.name}`` or ``{0.comma}`` in it, about objects by index.

    Each such word becomes a tagged span, so that the tokens of an encoded context know what they are about.
    ``answer`` is a template, too. With ``placement="prefill"`` the user's turn is ``instruction`` and the assistant's
    turn begins with the sentence; with ``"user_turn"`` the sentence is the user's turn. Braces are written twice to
    mean themselves. Raises FinstError for an object that the picture does not have, an unknown field, and an object
    without a colour where one is asked for.
    """
    objects = (shown.scene if isinstance(shown, Picture) else shown).objects
    sentence, spans = _written(template, objects)
    return Prompt(sentence, spans, placement, _written(answer, objects)[0], instruction)


def _written(template: str, objects: tuple[Obj, ...]) -> tuple[str, tuple[Span, ...]]:
    text, spans = "", []
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as cause:
        raise FinstError(
            f"the template {template!r} cannot be read ({cause}): expected fields such as {{0.noun}}"
        ) from cause
    for literal, field, _, _ in pieces:
        text += literal
        if field is not None:
            index, words = _words(field, objects)
            for role, word in words:
                text += " " if role == "noun" and len(words) > 1 else ""
                spans.append(Span(len(text), len(text) + len(word), role, index))
                text += word
    return text, tuple(spans)


def _words(field: str, objects: tuple[Obj, ...]) -> tuple[int, list[tuple[SpanRole, str]]]:
    """The object that a field is about, and its words with their roles."""
    number, _, name = field.partition(".")
    if not number.isdecimal() or int(number) >= len(objects):
        valid = f"0 to {len(objects) - 1}" if objects else "a picture with objects"
        raise FinstError(f"the template names object {number!r} in {{{field}}}: expected {valid}, such as {{0.noun}}")
    if name not in FIELDS:
        raise choice("field of an object", name, FIELDS)
    obj = objects[int(number)]
    if name == "comma":
        return int(number), [("comma", ",")]
    if name == "colour" and not obj.colour:
        raise FinstError(f"object {number}, {obj.shape!r}, has no colour: expected a name such as 'red {obj.shape}'")
    words: list[tuple[SpanRole, str]] = []
    if obj.colour and name != "noun":
        words.append(("colour", obj.colour))
    if name != "colour":
        words.append(("noun", obj.shape))
    return int(number), words
