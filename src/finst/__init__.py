"""finst: find, measure and edit the visual indexes by which vision-language models bind features to objects.

The names below are the ones that most work needs. They are loaded from their rooms when first used, so that
``import finst`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finst.engine.attribution import attribution
    from finst.engine.counterfactuals import counterfactuals, observe
    from finst.engine.decode_steps import sustained
    from finst.engine.edits import Edit, each_head, rows_from, unedited
    from finst.engine.generate import generate
    from finst.engine.head_sets import each_layer, head_sets
    from finst.engine.reads import Read, activations
    from finst.engine.record import record
    from finst.errors import FinstError
    from finst.prompts import colour_retrieval, scene_description, spatial_relation
    from finst.scenes.designs import mediation_pairs
    from finst.scenes.draw import draw
    from finst.scenes.object import Grid, Obj, Scene, on_grid
    from finst.scenes.renders.folder import read_sided
    from finst.vlm.encode import encode, first_tokens
    from finst.vlm.open import open_reader, open_vlm

_HOME = {
    "sustained": "finst.engine.decode_steps",
    "counterfactuals": "finst.engine.counterfactuals",
    "observe": "finst.engine.counterfactuals",
    "Edit": "finst.engine.edits",
    "each_head": "finst.engine.edits",
    "rows_from": "finst.engine.edits",
    "each_layer": "finst.engine.head_sets",
    "head_sets": "finst.engine.head_sets",
    "attribution": "finst.engine.attribution",
    "unedited": "finst.engine.edits",
    "generate": "finst.engine.generate",
    "Read": "finst.engine.reads",
    "activations": "finst.engine.reads",
    "record": "finst.engine.record",
    "FinstError": "finst.errors",
    "colour_retrieval": "finst.prompts",
    "scene_description": "finst.prompts",
    "spatial_relation": "finst.prompts",
    "mediation_pairs": "finst.scenes.designs",
    "draw": "finst.scenes.draw",
    "Grid": "finst.scenes.object",
    "Obj": "finst.scenes.object",
    "Scene": "finst.scenes.object",
    "on_grid": "finst.scenes.object",
    "read_sided": "finst.scenes.renders.folder",
    "encode": "finst.vlm.encode",
    "first_tokens": "finst.vlm.encode",
    "open_reader": "finst.vlm.open",
    "open_vlm": "finst.vlm.open",
}

__all__ = [  # noqa: RUF022  (in the order of the rooms)
    "Scene",
    "Obj",
    "Grid",
    "on_grid",
    "draw",
    "mediation_pairs",
    "read_sided",
    "scene_description",
    "colour_retrieval",
    "spatial_relation",
    "open_reader",
    "open_vlm",
    "encode",
    "first_tokens",
    "activations",
    "record",
    "Edit",
    "rows_from",
    "each_head",
    "each_layer",
    "head_sets",
    "unedited",
    "counterfactuals",
    "Read",
    "observe",
    "sustained",
    "generate",
    "attribution",
    "FinstError",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'finst' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
