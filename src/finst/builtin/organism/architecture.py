"""What the training recipe knows about an architecture, and nothing else; each has a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from finst.scenes.object import Grid

PATCH_PX = 28
"""One image token sees 28x28 px, as in Qwen2-VL (there as 2x2 merged patches of 14 px)."""

LAYERS, HEADS, D_HEAD = 10, 8, 32
"""The decoder of an organism; a model can be built with another number of layers."""

D_MODEL = HEADS * D_HEAD

ImageFeatures = Callable[..., Tensor]
"""(model without its head, patches [image patch values], *constants of the tower) -> [image patch d_model]."""


@runtime_checkable
class Architecture(Protocol):
    """One architecture of organisms. Implementations hold no state; models come as arguments."""

    name: str
    """``config.model_type``; the name by which one asks for it."""
    title: str
    """How its authors write it."""
    organism: str
    """Name of the organism that has it."""
    image_placeholder: str
    """The token of the vocabulary that stands for a patch."""
    grids: tuple[Grid, ...]
    """Grids, and with them canvases, that it can be trained on."""
    side: int | None
    """Px a side that its image processor resizes every canvas to; None where canvases keep their size."""
    image_features: ImageFeatures
    """Embeds many images of one size side by side, by the modules of the model; a plain function, to be compiled."""

    def build_tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer, with a template of the architecture's conversations."""
        ...

    def build_model(self, tokenizer: PreTrainedTokenizerFast, layers: int = LAYERS) -> Any:
        """A model of so many decoder layers with fresh random weights from torch's global generator."""
        ...

    def build_image_processor(self) -> Any:
        """What cuts, or resizes, the canvases of ``grids``."""
        ...

    def tower_constants(self, model: Any, rows: int, cols: int) -> tuple[Tensor, ...]:
        """What ``image_features`` needs besides patches, for images of ``rows`` x ``cols`` of them."""
        ...

    def position_ids(
        self, model: Any, input_ids: Int[Tensor, "1 pos"], rows: int, cols: int
    ) -> Int[Tensor, "*axis 1 pos"]:
        """Rotary positions of a text with one image."""
        ...


def patch_grid(architecture: Architecture, width: int, height: int) -> tuple[int, int]:
    """Rows and columns of image tokens for a canvas."""
    side = architecture.side
    return (side or height) // PATCH_PX, (side or width) // PATCH_PX
