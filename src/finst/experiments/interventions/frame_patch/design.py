"""Two pictures whose arrangements share the centre cell, with a relative and an absolute rival (Figs 13, 29)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from finst.experiments.interventions.frame_patch.spec import FramePatchSpec
from finst.prompts import Prompt, scene_description
from finst.scenes.designs import features
from finst.scenes.draw import draw
from finst.scenes.object import Cell, Scene, on_grid
from finst.scenes.sets import CENTRE, LATTICE, QUADRANTS, absolute
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import Reader

ROLES = ("relative", "absolute", "described", "none")
"""Whose colour is named: that of the undescribed object at the source's relative cell, of the one at its absolute cell,
of a described object, or none of the scene's."""

PAIRS: tuple[tuple[Cell, Cell], ...] = tuple(permutations(QUADRANTS, 2))
"""Ordered pairs of arrangements (the lattice cell at the top left of each): the source's, and the edited picture's."""


@dataclass(frozen=True)
class ArrangementPair:
    """The source picture, whose IDs are read, and the picture in which they are written."""

    source: Scene
    source_prompt: Prompt
    scene: Scene
    prompt: Prompt
    relative: int
    """The object of ``scene`` at the place within its arrangement that the source's target has in its own."""
    absolute: int
    """The object of ``scene`` at the centre of the lattice, where the source's target is."""

    @property
    def roles(self) -> dict[str, str]:
        """Roles by colour word."""
        rivals = {self.relative: "relative", self.absolute: "absolute"}
        return {obj.colour: rivals.get(index, "described") for index, obj in enumerate(self.scene.objects)}

    def encoded(self, reader: Reader) -> tuple[Encoded, Encoded]:
        """The source with its answer, and the picture that is edited, without one."""
        source = encode(reader, draw(self.source), self.source_prompt, self.source_prompt.answer)
        return source, encode(reader, draw(self.scene), self.prompt)


def pairs_of(spec: FramePatchSpec) -> tuple[ArrangementPair, ...]:
    """``spec.trials`` for each ordered pair of arrangements, which take turns; eight colours in every pair."""
    rng = np.random.default_rng([spec.seed, 1])
    return tuple(_pair(rng, spec, *arrangements) for _ in range(spec.trials) for arrangements in PAIRS)


def _pair(rng: np.random.Generator, spec: FramePatchSpec, source: Cell, other: Cell) -> ArrangementPair:
    named = features(rng, 8, "high")
    scenes = [_arranged(named[:4], source), _arranged(named[4:], other)]
    target = [absolute(obj) for obj in scenes[0].objects].index(CENTRE)
    cells = [absolute(obj) for obj in scenes[1].objects]
    same = (other[0] + CENTRE[0] - source[0], other[1] + CENTRE[1] - source[1])
    relative, centre = cells.index(same), cells.index(CENTRE)
    first = rng.permutation([index for index in range(4) if index != target]).tolist()
    second = rng.permutation([index for index in range(4) if index not in (relative, centre)]).tolist()
    return ArrangementPair(
        scenes[0],
        scene_description(scenes[0], first, target, spec.placement),
        scenes[1],
        scene_description(scenes[1], second, centre, spec.placement),
        relative,
        centre,
    )


def _arranged(named: Sequence[tuple[str, str]], corner: Cell) -> Scene:
    cells = [(corner[0] + row, corner[1] + col) for row in (0, 1) for col in (0, 1)]
    return on_grid(named, cells, LATTICE)


def arrangements_of(trial: int) -> str:
    """The arrangements of a trial, such as ``01-11``: row and column of the source's, and of the edited picture's."""
    source, other = PAIRS[trial % len(PAIRS)]
    return f"{source[0]}{source[1]}-{other[0]}{other[1]}"


def overlap_of(arrangements: str) -> str:
    """``adjacent`` where arrangements share two cells (and a side), ``diagonal`` where they share the centre alone."""
    same_row, same_column = arrangements[0] == arrangements[3], arrangements[1] == arrangements[4]
    return "adjacent" if same_row or same_column else "diagonal"
