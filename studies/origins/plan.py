"""What is trained: lists of trainings, as JSON. ``python -m studies.origins.plan organisms > plan.json``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

LEAVE_ONE_OUT = ("never", "some")
PLACES = ("mixed", "apart", "none")
LAYERS = (6, 10)


@dataclass(frozen=True)
class Training:
    """One model to be trained. What is None is as the recipe of the mix has it."""

    group: str
    """All seeds of it."""
    mix: str
    seed: int
    family: str = "qwen2_vl"
    layers: int | None = None
    legs: int | None = None
    steps: int | None = None
    tokens: int = 60_000
    """A step."""
    checkpoints: int = 0
    low_entropy: float | None = None
    """Share of scenes of few colours and shapes."""

    @property
    def name(self) -> str:
        """``never-mixed-6-s0``: its folder, and the name of its line among the results."""
        return f"{self.group}-s{self.seed}"


def cell(leave_one_out: str, places: str, layers: int, seed: int, **options: Any) -> Training:
    """One training of the factorial; ``never-mixed-6`` is the binding recipe."""
    mix = f"{leave_one_out}-{places}"
    return Training(f"{mix}-{layers}", mix, seed, layers=layers, **options)


def organisms(binding: int = 3, llava: int = 2, counting: int = 2, one_leg: int = 0) -> list[Training]:
    """The models to ship, several seeds of each; those that bind with checkpoints, for the trajectories.

    ``one_leg``: the binding recipe without its restart.
    """
    return [
        *(cell("never", "mixed", 6, seed, checkpoints=14) for seed in range(binding)),
        *(Training("binding-llava", "binding", seed, family="llava") for seed in range(llava)),
        *(Training("counting", "counting", seed) for seed in range(counting)),
        *(Training("binding-one-leg", "binding", seed, legs=1) for seed in range(one_leg)),
    ]


def factors(seeds: Sequence[int] = (0, 1, 2)) -> list[Training]:
    """All cells of the study of causes, seed by seed, so that what is cut short is whole replicates."""
    return [cell(*levels, seed) for seed in seeds for levels in product(LEAVE_ONE_OUT, PLACES, LAYERS)]


def long(seeds: Sequence[int] = (0, 1)) -> list[Training]:
    """The binding recipe with four legs, and with three in LLaVA-1.5's architecture: 12,700 steps a leg."""
    return [
        *(Training("four", "binding", seed, layers=6, legs=4, steps=50_800, checkpoints=14) for seed in seeds),
        Training("llava", "binding", 0, family="llava", layers=6, legs=3, steps=38_100, checkpoints=6),
    ]


def smoke() -> list[Training]:
    """A model of two layers and two steps, with a checkpoint: for two cores and a few seconds."""
    return [Training("never-mixed-2", "never-mixed", 0, layers=2, steps=2, legs=1, tokens=300, checkpoints=1)]


def read(text: str) -> list[Training]:
    """What ``written`` wrote."""
    return [Training(**training) for training in json.loads(text)]


def written(trainings: Sequence[Training]) -> str:
    """As JSON."""
    return json.dumps([asdict(training) for training in trainings], indent=1) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a plan."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("plan", choices=["organisms", "factors", "long", "smoke"])
    parser.add_argument("--binding", type=int, default=3, help="seeds of the binding recipe (organisms)")
    parser.add_argument("--llava", type=int, default=2, help="seeds of it in LLaVA-1.5's architecture")
    parser.add_argument("--counting", type=int, default=2, help="seeds of the counting recipe")
    parser.add_argument("--one-leg", type=int, default=0, help="seeds of the binding recipe without a restart")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of every cell (factors), and of four legs (long)"
    )
    options = parser.parse_args(arguments)
    if options.plan == "organisms":
        planned = organisms(options.binding, options.llava, options.counting, options.one_leg)
    elif options.plan == "smoke":
        planned = smoke()
    else:
        planned = (factors if options.plan == "factors" else long)(options.seeds)
    print(written(planned), end="")


if __name__ == "__main__":
    main()
