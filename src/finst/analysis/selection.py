"""Which setting of an edit is reported: the smallest of those that cannot be told from the best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from finst.analysis.paired import told_apart
from finst.errors import FinstError


@dataclass(frozen=True, eq=False)
class Choice:
    """A setting, and those that it was chosen from."""

    setting: int
    """The chosen one."""
    best: int
    """The one with most hits; the smallest edit where several have as many."""
    equals: Bool[np.ndarray, "setting"]
    """Which settings cannot be told from the best one, itself included."""


def smallest_of_the_best(
    hits: Bool[np.ndarray, "trial setting"], sizes: Sequence[tuple[float, ...]], confidence: float = 0.95
) -> Choice:
    """The smallest edit of those that cannot be told from the one with most hits, on the same trials.

    Two settings cannot be told apart if the score interval (``confidence``) of their paired difference holds 0.
    ``sizes`` order the settings: (K, dose) compares K first and then the dose, both without their sign; among equal
    sizes the first setting counts. Trials that are not in ``hits`` have no influence. Raises FinstError without a trial
    or a setting, and where the sizes are not those of the settings.
    """
    trials, settings = hits.shape
    if not trials or settings != len(sizes) or not settings:
        raise FinstError(
            f"{trials} trials of {settings} settings with {len(sizes)} sizes: expected one or more of each"
        )
    order = sorted(range(settings), key=lambda setting: tuple(map(abs, sizes[setting])))
    counts = hits.sum(0)
    best = max(order, key=lambda setting: counts[setting])
    gained, lost = (~hits & hits[:, [best]]).sum(0), (hits & ~hits[:, [best]]).sum(0)
    equals = ~told_apart(gained, lost, confidence)
    return Choice(next(setting for setting in order if equals[setting]), best, equals)
