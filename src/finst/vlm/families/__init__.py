"""The architectures that finst reads, one short module each.

A new one is a module here, its class in ``FAMILIES``, a tiny model of it in ``tests/tiny`` and its rows in
``tests/vlm/test_families.py``; every test of families then runs for it, those of the engine included.
"""

from __future__ import annotations

from finst.errors import choice
from finst.vlm.families.base import Family
from finst.vlm.families.llava import Llava
from finst.vlm.families.qwen2_vl import Qwen2VL
from finst.vlm.families.qwen3_vl import Qwen3VL

FAMILIES: tuple[Family, ...] = (Qwen2VL(), Llava(), Qwen3VL())


def supported() -> tuple[str, ...]:
    """All values of ``config.model_type`` that some family reads."""
    return tuple(name for family in FAMILIES for name in family.model_types)


def family_of(model_type: str) -> Family:
    """The family that reads ``config.model_type``. Raises FinstError naming the supported ones."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    raise choice("architecture", model_type, supported())
