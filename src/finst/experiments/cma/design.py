"""The design of causal mediation: its conditions, and the contexts of a pair (paper, section "Causal mediation")."""

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
"""The scenes of a pair: clean, with the two objects swapped, and with another target."""

COLOURS: tuple[str, ...] = ("described", "target", "new")
"""The colours of object 0, of object 1, and of object 1 in the changed context: the answers whose logits are kept."""


@dataclass(frozen=True)
class Condition:
    """One condition: what is patched from where, and which answers the score compares."""

    source: str
    """The context that the patched head outputs come from."""
    patched: Literal["described", "last"]
    """The tokens at which they replace those of the clean context."""
    original: str
    """a1: the correct answer in the clean context, one of ``COLOURS``."""
    counterfactual: str
    """a1*: the answer that patching the stage would lead to, one of ``COLOURS``."""


CONDITIONS: dict[str, Condition] = {
    "id_retrieval": Condition("swapped", "described", "target", "described"),
    "id_selection": Condition("swapped", "last", "target", "described"),
    "feature_retrieval": Condition("changed", "last", "target", "new"),
}
"""Conditions by stage, in the order of ``mediation.STAGES``."""


def colours_of(pair: MediationPair) -> tuple[str, str, str]:
    """The colour words of a pair, in the order of ``COLOURS``."""
    described, target = pair.clean.objects
    return described.colour, target.colour, pair.changed.objects[1].colour


def prompt_of(spec: CMASpec, pair: MediationPair) -> Prompt:
    """``In this image there is a {C} {S} and a``, for all contexts: object 0 is described, object 1 is the target."""
    return scene_description(pair.clean, [0], 1, spec.placement)


def contexts_of(reader: Reader, spec: CMASpec, pair: MediationPair) -> list[Encoded]:
    """The pair's encoded contexts, in the order of ``CONTEXTS``."""
    prompt = prompt_of(spec, pair)
    return [encode(reader, draw(getattr(pair, name)), prompt) for name in CONTEXTS]


def patched_positions(context: Encoded, condition: Condition) -> tuple[int, ...]:
    """Positions that a condition patches: the described object's colour and noun tokens, or the last token."""
    return context.tokens.described(0) if condition.patched == "described" else (context.tokens.last,)
