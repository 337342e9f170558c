"""What causal mediation compares: the conditions, and the contexts of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finst.experiments.cma.spec import CMASpec
from finst.prompts import Prompt, scene_description
from finst.scenes.designs import MediationPair
from finst.scenes.draw import draw
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import Reader

CONTEXTS: tuple[str, ...] = ("clean", "swapped", "changed")

COLOURS: tuple[str, ...] = ("described", "target", "new")
"""Of object 0, of object 1, and of object 1 in the changed context: the answers whose logits are kept."""


@dataclass(frozen=True)
class Condition:
    """One row of the paper's table of conditions."""

    source: str
    """The context that the patched outputs come from."""
    patched: Literal["described", "last"]
    """The tokens at which they are patched in."""
    original: str
    """a1: whose colour answers the clean context."""
    counterfactual: str
    """a1*: whose colour the stage would answer instead."""


CONDITIONS: dict[str, Condition] = {
    "id_retrieval": Condition("swapped", "described", "target", "described"),
    "id_selection": Condition("swapped", "last", "target", "described"),
    "feature_retrieval": Condition("changed", "last", "target", "new"),
}
"""By stage, in the order of ``mediation.STAGES``."""


def colours_of(pair: MediationPair) -> tuple[str, str, str]:
    """The colour words of ``COLOURS``."""
    described, target = pair.clean.objects
    return described.colour, target.colour, pair.changed.objects[1].colour


def prompt_of(spec: CMASpec, pair: MediationPair) -> Prompt:
    """``In this image there is a {C} {S} and a``: object 0 is described, object 1 to be named, in all contexts."""
    return scene_description(pair.clean, [0], 1, spec.placement)


def contexts_of(reader: Reader, spec: CMASpec, pair: MediationPair) -> list[Encoded]:
    """The pair's contexts in the order of ``CONTEXTS``."""
    prompt = prompt_of(spec, pair)
    return [encode(reader, draw(getattr(pair, name)), prompt) for name in CONTEXTS]


def patched_positions(context: Encoded, condition: Condition) -> tuple[int, ...]:
    """Where a condition patches: the described object's colour and noun tokens, or the last token."""
    return context.tokens.described(0) if condition.patched == "described" else (context.tokens.last,)
