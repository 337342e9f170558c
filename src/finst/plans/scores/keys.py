"""The keys of a score, in one place: their names, units, what they are compared with, and what they mean.

A name never changes its meaning: a new meaning gets a new name. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from string import Formatter
from types import MappingProxyType
from typing import Literal

Unit = Literal["share", "logits", "r", "share of the margin", "share of the depth"]

LEVEL = 0.95
"""The level of every interval of a score."""

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "entropy": ("high", "low"),
        "objects": tuple(map(str, range(2, 10))),
        "stage": ("id-retrieval", "id-selection", "feature-retrieval"),
        "row": ("upper-row", "lower-row"),
        "grid": ("2x2", "3x3"),
    }
)
"""What stands in a pattern in place of each part in braces."""


@dataclass(frozen=True)
class KeyFamily:
    """Keys that differ only in what their parts in braces stand for."""

    pattern: str
    """Such as ``stage.{stage}.strength``."""
    experiment: str
    """Whose first step in the plan gives the numbers."""
    unit: Unit
    samples: str
    """What n counts."""
    against: str
    """What the number, and its p where it has one, is compared with."""
    meaning: str
    """One sentence without a full stop, with the figure of the paper."""

    @property
    def names(self) -> tuple[str, ...]:
        """The keys, with every combination of parts."""
        parts = [name for _, name, _, _ in Formatter().parse(self.pattern) if name]
        return tuple(
            self.pattern.format(**dict(zip(parts, values, strict=True)))
            for values in product(*(PARTS[part] for part in parts))
        )


def stem(key: str) -> str:
    """A key without its last part: what it measures, such as one edit or one stage."""
    return key.rpartition(".")[0]


_CONTROLS = "the edit, same trials (largest over controls)"


def _effect(prefix: str, experiment: str, hit: str) -> tuple[KeyFamily, ...]:
    """The keys of one kind of edit; ``hit`` is what the shares are of, with the figure of the paper."""
    return (
        KeyFamily(f"{prefix}.before", experiment, "share", "trials", "nothing", f"no edit: {hit}"),
        KeyFamily(
            f"{prefix}.after",
            experiment,
            "share",
            "trials",
            "no edit, same trials",
            f"the edit, at the setting chosen on other trials: {hit}",
        ),
        KeyFamily(
            f"{prefix}.control", experiment, "share", "trials", _CONTROLS, "the strongest control at that setting"
        ),
        KeyFamily(
            f"{prefix}.own-control", experiment, "share", "trials", _CONTROLS, "the strongest control at its own best"
        ),
    )


def _similarity(name: str, experiment: str, meaning: str) -> KeyFamily:
    return KeyFamily(f"similarity.{name}", experiment, "r", "trials", "shuffled labels, family-wise", meaning)


FAMILIES = (
    KeyFamily(
        "accuracy.{entropy}.{objects}",
        "accuracy",
        "share",
        "trials",
        "nothing (1: always right)",
        "right answers with so many objects that are distinct (high) or share features (low), prefill (Fig 7)",
    ),
    KeyFamily(
        "stage.{stage}.strength",
        "cma",
        "logits",
        "pairs",
        "sign flips, family-wise over all heads",
        "mean effect of the strongest head (Fig 1d)",
    ),
    KeyFamily(
        "stage.{stage}.strength-of-margin",
        "cma",
        "share of the margin",
        "pairs",
        "nothing (1: both answers level)",
        "that effect as a share of the clean margin between the two answers",
    ),
    KeyFamily(
        "stage.{stage}.reliability",
        "cma",
        "r",
        "pairs",
        "nothing (0: halves share nothing)",
        "split-half reliability of the map of heads; the interval is over random halves",
    ),
    KeyFamily(
        "stage.{stage}.depth",
        "cma",
        "share of the depth",
        "pairs",
        "nothing (0: first layer, 1: last)",
        "median layer of the heads above the noise, weighted by effect (Figs 20-25)",
    ),
    *(
        KeyFamily(
            f"order.{earlier}-before-{later}",
            "cma",
            "share of the depth",
            "pairs",
            "sign flips",
            f"layers from the centre of {words[0]} to that of {words[1]} (Fig 1d)",
        )
        for earlier, later, words in (
            ("retrieval", "selection", ("ID retrieval", "ID selection")),
            ("selection", "features", ("ID selection", "feature retrieval")),
        )
    ),
    _similarity("position-at-commas", "rsa-stages", "peak over layers: commas and position of the described (Fig 1c)"),
    _similarity("position-at-last", "rsa-stages", "peak over layers: last token and position of the target (Fig 1c)"),
    _similarity("features-at-last", "rsa-stages", "peak over layers: last token and features of the target (Fig 1c)"),
    _similarity(
        "relative-given-absolute", "rsa-frame", "peak over layers: place among the objects, not in the picture (Fig 2)"
    ),
    _similarity(
        "absolute-given-relative", "rsa-frame", "peak over layers: place in the picture, not among the objects (Fig 2)"
    ),
    *_effect("steering.{stage}.{row}", "photoreal", "the described thing is named again (Fig 3b)"),
    *_effect("key-swap", "key-swap", "the other object’s colour is answered (Fig 4)"),  # noqa: RUF001
    *_effect("rescue.{grid}", "rescue", "the missing object is named, low entropy (Table 1)"),
    KeyFamily(
        "rescue.{grid}.gain",
        "rescue",
        "share",
        "trials",
        "no edit, same trials",
        "after minus before, with the paired interval (Table 1)",
    ),
)
"""In the order of the documentation."""

_FAMILY_OF = {name: family for family in FAMILIES for name in family.names}
_STEMS = [*dict.fromkeys(map(stem, _FAMILY_OF))]

KEYS: Mapping[str, KeyFamily] = MappingProxyType(
    {name: _FAMILY_OF[name] for name in sorted(_FAMILY_OF, key=lambda name: _STEMS.index(stem(name)))}
)
"""Every key of a score; keys of one stem stand together."""

SCORED = tuple(dict.fromkeys(family.experiment for family in FAMILIES))
"""The experiments that a score needs."""
