"""Whole recipes of organisms: a mix with everything else that its training takes, by the mix's name."""

from __future__ import annotations

from dataclasses import dataclass

from finst.builtin.organism.architecture import LAYERS
from finst.builtin.organism.lessons.mixes import CAPTIONS, MIXES, Mix
from finst.builtin.organism.lessons.training_scenes import LOW_ENTROPY


@dataclass(frozen=True)
class Recipe:
    """What ``TrainSpec`` falls back to wherever it leaves something open; its fields say what each means."""

    mix: Mix
    layers: int = LAYERS
    steps: int = 20_000
    legs: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    colour_noise: float = 0.0
    evenness: float = 0.0
    nearly_full: float = 0.0
    low_entropy: float = LOW_ENTROPY


def _of_the_study(mix: Mix) -> Recipe:
    return Recipe(
        mix, layers=6, steps=12_700, legs=2, weight_decay=0.1, colour_noise=10.0, evenness=0.5, nearly_full=0.25
    )


_STUDIED = ("binding", "counting", *(name for name in MIXES if name.split("-")[0] in CAPTIONS))

RECIPES: dict[str, Recipe] = {
    name: _of_the_study(mix) if name in _STUDIED else Recipe(mix) for name, mix in MIXES.items()
}
"""``binding``, ``counting`` and the cells of the study of causes share all but the mix; older mixes were trained with
options of their own, which the log in the documentation has."""
