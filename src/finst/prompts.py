"""Prompts: the paper's sentences with tagged spans, their answers, and the scoring of generated texts.

A part of a sentence that an experiment needs (the colour word of the second object, say) is tagged as a ``Span`` of
characters when the sentence is written, so that nothing needs to be searched for afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from finst.errors import FinstError, choice
from finst.options import Placement, Wording
from finst.scenes.object import Obj, Scene
from finst.scenes.shapes import COLOURS

SpanRole = Literal["colour", "noun", "comma"]
"""``comma`` is the text after a described object: a comma, or "and" after the last described object."""

Relation = Literal["above", "below", "left", "right"]

DESCRIBE = "Describe the image."
"""The user's instruction before a prefilled sentence (not stated in the paper; the same for every model)."""

ENUMERATE = (
    "List all unique colored objects in this image as a numbered list, then give the total as Answer: TOTAL_COUNT."
)
"""The instruction to list all objects and give their number (Fig 46)."""


@dataclass(frozen=True)
class Span:
    """Characters [start, stop) of a prompt's sentence that belong to object ``object`` (an index) of the scene."""

    start: int
    stop: int
    role: SpanRole
    object: int


@dataclass(frozen=True)
class Prompt:
    """A prompt about one picture.

    ``spans`` index the characters of ``sentence``. With ``placement="prefill"`` the user's turn is ``instruction`` and
    the assistant's turn begins with the sentence; with ``"user_turn"`` the user's turn is the sentence.
    """

    sentence: str
    spans: tuple[Span, ...]
    placement: Placement
    answer: str
    instruction: str = DESCRIBE

    def __post_init__(self) -> None:
        if self.placement not in get_args(Placement):
            raise choice("prompt placement", self.placement, get_args(Placement))

    @property
    def user(self) -> str:
        """The text of the user's turn, after the image."""
        return self.instruction if self.placement == "prefill" else self.sentence

    @property
    def prefill(self) -> str:
        """The beginning of the assistant's turn; empty when the sentence is in the user's turn."""
        return self.sentence if self.placement == "prefill" else ""

    def continuation(self, answer: str) -> str:
        """``answer`` as the characters that follow the prompt."""
        return f" {answer}" if self.placement == "prefill" else answer


class _Writer:
    """A sentence under construction, with the spans of its parts."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans: list[Span] = []

    def add(self, text: str, role: SpanRole | None = None, index: int = -1) -> None:
        if role is not None:
            lead = len(text) - len(text.lstrip())
            self.spans.append(Span(len(self.text) + lead, len(self.text) + len(text), role, index))
        self.text += text

    def name(self, obj: Obj, index: int) -> None:
        self.add(f" {obj.colour}", "colour", index)
        self.add(f" {obj.shape}", "noun", index)


def scene_description(
    scene: Scene,
    described: Sequence[int],
    target: int,
    placement: Placement = "prefill",
    *,
    leak_target_colour: bool = False,
) -> Prompt:
    """``In this image there is a {C0} {S0}, a {C1} {S1} and a`` for the ``described`` objects, in that order.

    The answer names the ``target``, which the sentence does not describe (paper, section "Prompts"). With
    ``leak_target_colour`` the sentence ends with the target's colour, as in some reproductions, and the answer is the
    shape alone. ``described`` and ``target`` are indices of objects. Raises FinstError when they are not distinct or
    none is described.
    """
    if target in described or not described or len(set(described)) != len(described):
        raise FinstError(
            "a scene description needs distinct described objects and another target; "
            f"got {list(described)} and {target}"
        )
    writer = _Writer("In this image there is")
    for place, index in enumerate(described):
        writer.add(" a")
        writer.name(scene.objects[index], index)
        writer.add("," if place < len(described) - 1 else " and", "comma", index)
    obj = scene.objects[target]
    writer.add(f" a {obj.colour}" if leak_target_colour else " a")
    return Prompt(writer.text, tuple(writer.spans), placement, obj.shape if leak_target_colour else obj.name)


def colour_retrieval(scene: Scene, target: int) -> Prompt:
    """``In this image what is the color of the {SHAPE}. ...`` (Fig 4).

    Raises FinstError when the target's shape is not unique in the scene.
    """
    shape = scene.objects[target].shape
    if sum(obj.shape == shape for obj in scene.objects) != 1:
        raise FinstError(f"colour retrieval needs a unique shape, and the scene has more than one {shape}")
    writer = _Writer("In this image what is the color of the")
    writer.add(f" {shape}", "noun", target)
    writer.add(". Answer with the correct color only.")
    return Prompt(writer.text, tuple(writer.spans), "user_turn", scene.objects[target].colour)


STEPS: dict[Relation, tuple[int, int]] = {"above": (-1, 0), "below": (1, 0), "left": (0, -1), "right": (0, 1)}
"""(rows, columns) from a reference object to its neighbour in that relation."""


def spatial_relation(scene: Scene, relation: Relation, reference: int) -> Prompt:
    """``In this image, what is the color of the object that is directly {RELATION} of {REF}. ...`` (Fig 5).

    Raises FinstError when the reference is not unique or has no neighbour there.
    """
    ref = scene.objects[reference]
    if sum(obj.name == ref.name for obj in scene.objects) != 1:
        raise FinstError(f"a spatial question needs a unique reference, and the scene has more than one {ref.name}")
    target = neighbour(scene, relation, reference)
    if target is None:
        raise FinstError(f"nothing lies directly {relation} of the {ref.name}")
    writer = _Writer(f"In this image, what is the color of the object that is directly {relation} of the")
    writer.name(ref, reference)
    writer.add(". Answer with the relevant color only.")
    return Prompt(writer.text, tuple(writer.spans), "user_turn", scene.objects[target].colour)


def neighbour(scene: Scene, relation: Relation, reference: int) -> int | None:
    """Index of the object in the next cell in that direction; None if there is none."""
    cell = scene.objects[reference].cell
    if cell is None:
        return None
    rows, cols = STEPS[relation]
    cells = [obj.cell for obj in scene.objects]
    wanted = (cell[0] + rows, cell[1] + cols)
    return cells.index(wanted) if wanted in cells else None


def enumeration(scene: Scene, order: Sequence[int]) -> Prompt:
    """``ENUMERATE``; the answer lists the objects in ``order``."""
    listed = " ".join(f"{k}. a {scene.objects[i].name}" for k, i in enumerate(order, 1))
    return Prompt(ENUMERATE, (), "user_turn", f"{listed} Answer: {len(order)}")


def next_item(scene: Scene, listed: Sequence[int], target: int) -> Prompt:
    """``ENUMERATE`` with an answer that lists the ``listed`` objects, ``1. a {C0} {S0} 2. a``; the next is ``target``.

    Raises FinstError when the target is listed already.
    """
    if target in listed:
        raise FinstError(f"object {target} is listed already: expected another object as the next item")
    writer = _Writer("")
    for place, index in enumerate(listed, 1):
        writer.add(f"{place}. a")
        writer.name(scene.objects[index], index)
        writer.add(" ")
    writer.add(f"{len(listed) + 1}. a")
    return Prompt(writer.text, tuple(writer.spans), "prefill", scene.objects[target].name, ENUMERATE)


def begun_list(named: Sequence[str], placement: Placement = "prefill", wording: Wording = "paper") -> Prompt:
    """``In this image there is 1. a {O0} 2. a``: a list of the ``named`` objects and the next number (Figs 44, 45).

    Raises FinstError for an unknown wording, and for the wording enumeration in the user's turn: it begins the
    assistant's answer to ``ENUMERATE``.
    """
    if wording not in get_args(Wording):
        raise choice("wording", wording, get_args(Wording))
    if wording == "enumeration" and placement != "prefill":
        raise FinstError(
            f"wording enumeration begins the assistant's answer: expected placement prefill, not {placement}"
        )
    items = " ".join([*(f"{number}. a {name}" for number, name in enumerate(named, 1)), f"{len(named) + 1}. a"])
    if wording == "enumeration":
        return Prompt(items, (), placement, "", ENUMERATE)
    return Prompt(f"In this image there is {items}", (), placement, "")


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, without articles and punctuation."""
    return [word for word in re.findall(r"[a-z]+|\d+", text.lower()) if word not in ("a", "an", "the")]


def correct(generated: str, answer: str) -> bool:
    """Whether a generated text begins with the answer, word by word. The rule is the same with and without edits."""
    expected = words(answer)
    return words(generated)[: len(expected)] == expected


def spoken_colours(generated: str, colours: Iterable[str]) -> list[str]:
    """The colour words of a generated text, in order."""
    known = set(colours)
    return [word for word in words(generated) if word in known]


TOTAL = "answer:"
"""The label before the total of an enumeration, in lower case (upper case is accepted too)."""


def total_of(generated: str) -> int | None:
    """The first number after the last ``Answer:`` of a generated text; None where there is none."""
    _, label, rest = generated.lower().rpartition(TOTAL)
    digits = re.search(r"\d+", rest) if label else None
    return int(digits[0]) if digits else None


def listed(generated: str) -> list[str]:
    """The names before the last ``Answer:`` of a generated text (in the whole text without one), in order.

    A name is a colour word and the word after it.
    """
    names = generated.lower().rpartition(TOTAL)[0] or generated
    return [f"{first} {second}" for first, second in pairwise(words(names)) if first in COLOURS]
