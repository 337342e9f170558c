"""``finst models``: published checkpoints with the sizes that follow from their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from finst.errors import FinstError
from finst.vlm.families import supported
from finst.vlm.families.base import Pixels
from finst.vlm.open import quiet
from finst.vlm.published import SHAPES, Shape

SQUARES_PX = (280, 336, 392)
"""Sides of the paper's canvases (2x2 and 3x3 objects), and the picture size of CLIP."""


@dataclass(frozen=True)
class PublishedModel:
    """A published shape with its sizes."""

    name: str
    """The name for ``finst bench --shape``."""
    hub: tuple[str, ...]
    """Checkpoints of this shape."""
    architecture: str
    """``config.model_type``."""
    layers: int
    heads: int
    kv_heads: int
    image_tokens: dict[str, int | None]
    """Image tokens of a square picture by its side in px; None where finst supports neither model nor picture."""
    supported: str
    """"yes", or what is missing."""
    parameters: int
    bf16_bytes: int
    """Size of the weights."""
    fp32_bytes: int


def models() -> tuple[PublishedModel, ...]:
    """All of ``SHAPES``."""
    return tuple(map(_model, SHAPES.values()))


def _model(shape: Shape) -> PublishedModel:
    with quiet():
        text, parameters = shape.config().get_text_config(), shape.parameters()
    pixels = {side: _pixels(shape, side) for side in SQUARES_PX}
    return PublishedModel(
        shape.name,
        shape.hub,
        shape.model_type,
        text.num_hidden_layers,
        text.num_attention_heads,
        text.num_key_value_heads,
        {str(side): None if inputs is None else image_tokens(inputs) for side, inputs in pixels.items()},
        _supported(shape, pixels[SQUARES_PX[0]]),
        parameters,
        2 * parameters,
        4 * parameters,
    )


def _pixels(shape: Shape, side: int) -> Pixels | None:
    if shape.model_type not in supported():
        return None
    reader = _reader(shape.name)
    try:
        blank = np.full((side, side, 3), 255, dtype=np.uint8)
        return reader.family.pixels(reader.config, reader.image_processor, blank)
    except FinstError:
        return None


@cache
def _reader(name: str) -> Any:
    return SHAPES[name].reader()


def image_tokens(pixels: Pixels) -> int:
    """The number of positions that a picture takes in the decoder."""
    return len(pixels.roles)


def _supported(shape: Shape, pixels: Pixels | None) -> str:
    if shape.model_type not in supported():
        return "not yet"
    return f"without patches: {pixels.unplaced}" if pixels and pixels.unplaced else "yes"


def table(rows: Sequence[PublishedModel]) -> str:
    """The models as a table for a terminal."""
    out = Table(box=None, pad_edge=False)
    for head in ("hub id", "architecture"):
        out.add_column(head, no_wrap=True)
    tokens = "/".join(map(str, SQUARES_PX))
    for head in ("layers", "heads", "KV heads", f"image tokens\n{tokens} px", "bf16 GiB", "fp32 GiB"):
        out.add_column(head, justify="right")
    out.add_column("supported")
    for model in rows:
        counts = "/".join("-" if count is None else str(count) for count in model.image_tokens.values())
        sizes = (f"{size / 2**30:.1f}" for size in (model.bf16_bytes, model.fp32_bytes))
        numbers = (str(count) for count in (model.layers, model.heads, model.kv_heads))
        out.add_row("\n".join(model.hub), model.architecture, *numbers, counts, *sizes, model.supported)
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(out)
    return capture.get().rstrip()
