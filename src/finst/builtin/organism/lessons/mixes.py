"""Mixes of lessons: what share of each kind an organism is taught."""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from typing import get_args

import numpy as np

from finst.builtin.organism.lessons.binding import FAMILIES, LeaveOneOut, Places, lesson_name, maker
from finst.builtin.organism.lessons.descriptions import (
    colours,
    describe,
    grounded,
    grounded_shuffled,
    proceed,
    shapes,
    successor,
)
from finst.builtin.organism.lessons.lesson import Lesson, LessonMaker
from finst.builtin.organism.lessons.questions import colour, enumeration, relation
from finst.builtin.organism.lessons.training_scenes import LOW_ENTROPY, training_scene
from finst.errors import choice
from finst.scenes.object import Grid

LESSONS: dict[str, LessonMaker] = {
    "describe": describe,
    "proceed": proceed,
    "successor": successor,
    "grounded": grounded,
    "grounded_shuffled": grounded_shuffled,
    "colours": colours,
    "shapes": shapes,
    "colour": colour,
    "relation": relation,
    "enumeration": enumeration,
    **{lesson_name(name, kind): maker(family, kind) for name, family in FAMILIES.items() for kind in get_args(Places)},
}

Mix = dict[str, float]
"""Share of each kind of lesson."""

CAPTIONS: dict[LeaveOneOut, Mix] = {
    "never": {"some_then_next": 0.34, "reading_on": 0.24},
    "some": {"some_then_next": 0.17, "all_but_one": 0.17, "reading_through": 0.24},
    "only": {"all_but_one": 0.58},
}
"""The captions of a mix: in all of them 58 % of the lessons."""

QUESTIONS: Mix = {"pointing": 0.08, "colour_question": 0.06, "relation_question": 0.16}
"""In all mixes, beside 12 % of lists; without place tokens pointing makes way for relations."""


def factorial_mix(leave_one_out: LeaveOneOut, places: Places) -> Mix:
    """The mix of one cell of the study of causes; shares in % of the lessons.

    | kind of lesson | never | some | only |
    |---|---|---|---|
    | some objects in random order, then the next; two or more left | 34 | 17 | |
    | all objects but one in random order, then that one | | 17 | 58 |
    | reading order from anywhere, stopping before the last | 24 | | |
    | reading order from anywhere, to the last | | 24 | |
    | place -> object (without place tokens: relations) | 8 | 8 | 8 |
    | colour of a shape | 6 | 6 | 6 |
    | colour of a neighbour | 16 | 16 | 16 |
    | numbered list of all objects, and their number | 12 | 12 | 12 |

    ``places`` changes no share: 45 % of the nouns in captions and half of the questions have a place, ``mixed`` or
    ``apart``. A list names all objects in every mix, so its last item is the one that is left.
    """
    families = {**CAPTIONS[leave_one_out], **QUESTIONS}
    if places == "none":
        families["relation_question"] += families.pop("pointing")
    return {**{lesson_name(family, places): share for family, share in families.items()}, "enumeration": 0.12}


def factorial_name(leave_one_out: LeaveOneOut, places: Places) -> str:
    """``never-mixed``."""
    return f"{leave_one_out}-{places}"


MIXES: dict[str, Mix] = {
    "binding": factorial_mix("never", "mixed"),
    "counting": factorial_mix("only", "none"),
    **{
        factorial_name(leave_one_out, places): factorial_mix(leave_one_out, places)
        for leave_one_out in CAPTIONS
        for places in get_args(Places)
    },
    "proceeding": {
        "proceed": 0.30,
        "successor": 0.05,
        "grounded": 0.22,
        "grounded_shuffled": 0.13,
        "colour": 0.05,
        "relation": 0.15,
        "enumeration": 0.10,
    },
    "grounded": {
        "describe": 0.25,
        "successor": 0.05,
        "grounded": 0.25,
        "grounded_shuffled": 0.10,
        "colour": 0.05,
        "relation": 0.20,
        "enumeration": 0.10,
    },
    "finishing": {
        "describe": 0.15,
        "proceed": 0.08,
        "successor": 0.10,
        "grounded": 0.22,
        "grounded_shuffled": 0.10,
        "colour": 0.10,
        "relation": 0.15,
        "enumeration": 0.10,
    },
    "relating": {
        "describe": 0.08,
        "proceed": 0.08,
        "successor": 0.10,
        "grounded": 0.14,
        "grounded_shuffled": 0.08,
        "colours": 0.05,
        "shapes": 0.05,
        "colour": 0.10,
        "relation": 0.24,
        "enumeration": 0.08,
    },
    "listing": {
        "describe": 0.10,
        "proceed": 0.06,
        "successor": 0.10,
        "grounded": 0.20,
        "grounded_shuffled": 0.10,
        "colours": 0.03,
        "shapes": 0.03,
        "colour": 0.10,
        "relation": 0.12,
        "enumeration": 0.16,
    },
    "whole": {
        "describe": 0.10,
        "proceed": 0.08,
        "successor": 0.10,
        "grounded": 0.22,
        "grounded_shuffled": 0.10,
        "colours": 0.02,
        "shapes": 0.02,
        "colour": 0.08,
        "relation": 0.16,
        "enumeration": 0.12,
    },
}
"""The mixes to train on; the log in the documentation has what each of them gave.

``counting`` is the opposite of ``binding`` and answers as much: its captions can all be had as what is seen minus what
is described, of colours and of shapes; no caption needs what comes next, and no token names a place.
"""


def training_lesson(
    rng: np.random.Generator, grid: Grid, mix: Mix, nearly_full: float = 0.0, low_entropy: float = LOW_ENTROPY
) -> Lesson:
    """One lesson of the mix on a fresh scene; shares of the scenes are ``nearly_full`` and of ``low_entropy``."""
    names, ends = list(mix), list(accumulate(mix.values()))
    kind = names[min(bisect(ends, rng.random() * ends[-1]), len(names) - 1)]
    if kind not in LESSONS:
        raise choice("lesson", kind, LESSONS)
    return LESSONS[kind](rng, training_scene(rng, grid, nearly_full, low_entropy))
