"""The architectures that organisms are trained in."""

from __future__ import annotations

from finst.builtin.organism.architecture import Architecture
from finst.builtin.organism.llava import Llava
from finst.builtin.organism.qwen2_vl import Qwen2VL
from finst.errors import choice

ARCHITECTURES: tuple[Architecture, ...] = (Qwen2VL(), Llava())


def architecture_of(family: str) -> Architecture:
    """The architecture of that name. Raises FinstError naming those there are."""
    for architecture in ARCHITECTURES:
        if architecture.name == family:
            return architecture
    raise choice("family", family, [architecture.name for architecture in ARCHITECTURES])
