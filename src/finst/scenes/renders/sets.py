"""Designs of rendered sets: every combination of two things and an environment, counterbalanced (Fig 3)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import count as counting
from itertools import islice, product

import numpy as np

from finst.errors import FinstError
from finst.scenes.designs import Features
from finst.scenes.renders.camera import Shot

Combination = tuple[Features, Features, str]
"""The left and the right thing's (colour, kind), and the environment."""


def shots(
    colours: Sequence[str], kinds: Sequence[str], environments: Sequence[str], count: int, seed: int
) -> dict[str, Shot]:
    """``count`` shots by name, such as ``salt-desert_red-camel_white-dolphin_0``; every beginning is balanced.

    All pairs of things of different colours in every environment come once (162 for the paper's words), then again with
    other jitters. In the first m shots, with m a multiple of the number of things (9), each thing is left and right
    equally often; for other m the counts differ by at most one. Mirror images (the same two things in the same
    environment, on exchanged sides) follow that number or half of it later, so with an odd number of colours every
    multiple of twice the number (18) consists of mirrored pairs. A shot depends only on its name and ``seed``. Raises
    FinstError for fewer than two colours, no kind, no environment, repeated words, and a ``count`` below 1.
    """
    for what, words, least in (("colour", colours, 2), ("thing", kinds, 1), ("environment", environments, 1)):
        if len(words) < least or len(set(words)) < len(words):
            raise FinstError(f"{list(words)}: expected at least {least} {what}{'s' * (least > 1)}, each once")
    if count < 1:
        raise FinstError(f"count is {count}: expected at least 1 picture")
    chosen: dict[str, Shot] = {}
    for jitter in counting():
        rng = np.random.default_rng([seed, jitter])
        left = count - len(chosen)
        for first, second, environment in islice(_once(rng, colours, kinds, environments), left):
            name = _name(first, second, environment, jitter)
            chosen[name] = Shot((first, second), environment, (seed, zlib.crc32(name.encode())))
        if len(chosen) == count:
            return chosen
    raise AssertionError("there is always another jitter")


def _once(
    rng: np.random.Generator, colours: Sequence[str], kinds: Sequence[str], environments: Sequence[str]
) -> Iterator[Combination]:
    """Every combination, in blocks in which each thing is left once and right once.

    In a block the right thing is the left thing shifted by a step along the colours and a step along the kinds; the
    latter grows with the colour's index, so that same and different kinds mix. A block of mirror images follows, with
    the opposite step along the colours. Where that is the same step, half a block and its mirror images make a whole
    block. All steps together give all pairs. Environments alternate within a block and from block to block.
    """
    things: list[tuple[int, int]] = list(product(range(len(colours)), range(len(kinds))))
    steps = list(product(range(1, len(colours) // 2 + 1), range(len(kinds))))
    steps = [steps[int(i)] for i in rng.permutation(len(steps))]
    for turn in range(len(environments)):
        for block, (along_colours, along_kinds) in enumerate(steps):
            own_mirror = 2 * along_colours == len(colours)
            lefts = [things[int(index)] for index in rng.permutation(len(things))]
            made: list[Combination] = []
            for c, k in lefts:
                if own_mirror and c >= along_colours:
                    continue
                right = (colours[(c + along_colours) % len(colours)], kinds[(k + c + along_kinds) % len(kinds)])
                environment = environments[(c + k + turn + block) % len(environments)]
                made.append(((colours[c], kinds[k]), right, environment))
            yield from made
            yield from ((right, left, environment) for left, right, environment in made)


def _name(left: Features, right: Features, environment: str, jitter: int) -> str:
    """The shot's name by the rule of ``folder.NAMES``."""
    words = (environment, " ".join(left), " ".join(right), str(jitter))
    return "_".join(word.replace(" ", "-") for word in words)
