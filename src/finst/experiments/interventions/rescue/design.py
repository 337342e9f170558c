"""Pairs of a low-entropy and a high-entropy picture, and other high-entropy pictures to estimate from (Table 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from finst.experiments.interventions.rescue.spec import RescueSpec
from finst.experiments.units import square
from finst.options import Entropy, Placement
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Obj
from finst.scenes.sets import Staged, unique_objects
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import Reader


@dataclass(frozen=True)
class EntropyTrial:
    """A picture of low entropy, and one of high entropy, whose accuracy is what a rescue could reach."""

    grid: str
    low: Staged
    high: Staged
    wrong: Obj
    """An object of the low-entropy picture whose colour and shape both differ from those of the missing one: its cell's
    prototype is the wrong one."""

    def encoded(self, reader: Reader, placement: Placement) -> tuple[Encoded, Encoded]:
        """The picture of low entropy, and that of high entropy, without their answers."""
        low, high = (
            encode(
                reader,
                draw(staged.scene),
                scene_description(staged.scene, staged.order[:-1], staged.order[-1], placement),
            )
            for staged in (self.low, self.high)
        )
        return low, high


def trials_of(spec: RescueSpec) -> tuple[EntropyTrial, ...]:
    """The trials of all grids, grid by grid."""
    rng = np.random.default_rng([spec.seed, 1])
    return tuple(
        EntropyTrial(grid, low, high, _unlike(low, rng))
        for place, (grid, per_pair) in enumerate(zip(spec.grids, spec.trials, strict=True))
        for low, high in zip(
            _staged(spec, place, "low", per_pair, 2), _staged(spec, place, "high", per_pair, 3), strict=True
        )
    )


def estimation_of(spec: RescueSpec) -> Mapping[str, tuple[Staged, ...]]:
    """The pictures behind the prototypes, by grid."""
    return {
        grid: _staged(spec, place, "high", per_pair, 4)
        for place, (grid, per_pair) in enumerate(zip(spec.grids, spec.estimation, strict=True))
    }


def _staged(spec: RescueSpec, place: int, entropy: Entropy, per_pair: int, use: int) -> tuple[Staged, ...]:
    seed = int(np.random.SeedSequence([spec.seed, use, place]).generate_state(1)[0])
    return unique_objects(square(spec.grids[place]), entropy, per_pair, seed, "fresh")


def _unlike(staged: Staged, rng: np.random.Generator) -> Obj:
    """An object whose colour and shape both differ from the missing one's; low entropy always has some."""
    target = staged.target
    others = [obj for obj in staged.scene.objects if obj.colour != target.colour and obj.shape != target.shape]
    return others[int(rng.integers(len(others)))]
