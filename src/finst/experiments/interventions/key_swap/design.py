"""Pictures of two objects side by side with a question for the colour of one (Fig 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finst.experiments.interventions.key_swap.spec import KeySwapSpec
from finst.prompts import Prompt, colour_retrieval
from finst.scenes.designs import mediation_pairs
from finst.scenes.draw import draw
from finst.scenes.object import Scene
from finst.scenes.sets import absolute
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import Reader

SIDES = ("left", "right")
"""The position ID of an object: the side on which it stands."""

ROLES = ("other", "queried", "none")
"""Whose colour is named: a hit is the other object's."""


@dataclass(frozen=True)
class ColourQuestion:
    """A picture of two objects side by side, and a question for the colour of one."""

    scene: Scene
    queried: int
    prompt: Prompt

    @property
    def roles(self) -> dict[str, str]:
        """Roles by colour word."""
        return {obj.colour: ROLES[index == self.queried] for index, obj in enumerate(self.scene.objects)}

    @property
    def sides(self) -> tuple[int, ...]:
        """The side of every object, as an index into ``SIDES``."""
        return tuple(absolute(obj)[1] for obj in self.scene.objects)

    @property
    def side(self) -> str:
        """The queried object's side."""
        return SIDES[self.sides[self.queried]]

    def encoded(self, reader: Reader) -> Encoded:
        """The picture and the question, without an answer."""
        return encode(reader, draw(self.scene), self.prompt)


def questions(spec: KeySwapSpec) -> tuple[ColourQuestion, ...]:
    """The pictures that are edited; colours, shapes, rows and the queried object's side are counterbalanced."""
    return _questions(spec.trials, [spec.seed, 1])


def estimation_questions(spec: KeySwapSpec) -> tuple[ColourQuestion, ...]:
    """The pictures behind the mean keys, counterbalanced in the same way."""
    return _questions(spec.estimation, [spec.seed, 2])


def _questions(count: int, seed: Sequence[int]) -> tuple[ColourQuestion, ...]:
    drawn = int(np.random.SeedSequence(seed).generate_state(1)[0])
    scenes = [pair.clean for pair in mediation_pairs(count, drawn)]
    return tuple(ColourQuestion(scene, 1, colour_retrieval(scene, 1)) for scene in scenes)
