"""The supported architectures, one short module each.

A new architecture needs a module here, its class in ``FAMILIES``, a tiny model in ``tests/tiny`` and a row in
``tests/tiny/rows.py``. All tests of families then run for it, those of the engine included. See
``docs/adding-a-model.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from finst.errors import FinstError, choice
from finst.vlm.families.base import Family
from finst.vlm.families.gemma3 import Gemma3
from finst.vlm.families.idefics2 import Idefics2
from finst.vlm.families.idefics3 import Idefics3
from finst.vlm.families.internvl import InternVL
from finst.vlm.families.llava import Llava
from finst.vlm.families.llava_onevision import LlavaOneVision
from finst.vlm.families.qwen2_vl import Qwen2VL
from finst.vlm.families.qwen3_vl import Qwen3VL

FAMILIES: tuple[Family, ...] = (
    Qwen2VL(),
    Qwen3VL(),
    Llava(),
    LlavaOneVision(),
    Idefics2(),
    Idefics3(),
    InternVL(),
    Gemma3(),
)

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "paligemma": "all tokens of its prompt see each other (prefix-LM), so an edit changes the tokens before it too "
        "and rows share no prefix; expected a decoder whose text is causal",
    }
)
"""Architectures that are known but not supported, with the reason."""


def supported(families: Sequence[Family] = FAMILIES) -> tuple[str, ...]:
    """All values of ``config.model_type`` that some family reads."""
    return tuple(name for family in families for name in family.model_types)


def family_of(model_type: str, families: Sequence[Family] = FAMILIES) -> Family:
    """The first family that reads ``config.model_type``.

    Raises FinstError with the reason if the architecture is refused, else with the supported architectures.
    """
    for family in families:
        if model_type in family.model_types:
            return family
    if model_type in REFUSED:
        raise FinstError(f"architecture {model_type!r} is not supported: {REFUSED[model_type]}")
    raise choice("architecture", model_type, supported(families))
