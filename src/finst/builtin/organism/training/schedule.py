"""When what happens in a training: progress, legs, learning rates, checkpoints."""

from __future__ import annotations

import math

import numpy as np

WARM_UP = 300
"""Steps from no learning rate to its peak, in every leg."""

RESTART = 0.7
"""Every leg's peak, as a share of the peak of the leg before."""

FIRST_CHECKPOINT = 100
"""Steps before the first of several checkpoints."""


def progress(step: int, steps: int, elapsed_s: float = 0.0, minutes: float | None = None) -> float:
    """How far training is, in [0, 1]: by steps, or by the clock if that is further."""
    timed = elapsed_s / (60 * minutes) if minutes else 0.0
    return min(1.0, max(step / steps, timed))


def leg_of(done: float, legs: int) -> int:
    """The leg, from 0 on, that a training is in when it is ``done`` in [0, 1]; legs are equally long."""
    return min(legs - 1, int(done * legs))


def learning_rate(peak: float, done: float, legs: int, since: int) -> float:
    """In every leg a linear warm-up, then a cosine that ends at a fiftieth of the leg's peak.

    ``peak`` is the first leg's; ``since`` counts the steps of this leg.
    """
    leg = leg_of(done, legs)
    within = done * legs - leg
    return peak * RESTART**leg * min(1.0, (since + 1) / WARM_UP) * (0.02 + 0.49 * (1 + math.cos(math.pi * within)))


def checkpoint_steps(count: int, steps: int) -> tuple[int, ...]:
    """At most ``count`` steps, evenly spaced on a log scale, from ``FIRST_CHECKPOINT`` or the first to the last."""
    if count < 1:
        return ()
    spaced = np.geomspace(min(FIRST_CHECKPOINT, steps), steps, count) if count > 1 else [steps]
    return tuple(dict.fromkeys(round(float(step)) for step in spaced))
