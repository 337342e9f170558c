"""An organism on a whole batch of equal canvases at once: the fast twin of the model's own ``forward``.

The images of a batch go side by side through the vision tower. The decoder's layers are all of one make, so that one
compiled function serves for them: compiling them as a whole would take as many times longer as there are layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from finst.builtin.organism.architecture import Architecture, patch_grid
from finst.builtin.organism.training.batches import Batch

Rotary = tuple[Tensor, Tensor]
"""Cosine and sine of rotary angles."""


def run_layer(
    layer: Any, hidden: Float[Tensor, "lesson pos d_model"], rotary: Rotary
) -> Float[Tensor, "lesson pos d_model"]:
    """One decoder layer; without a mask its attention is causal."""
    return layer(hidden, attention_mask=None, position_embeddings=rotary)


def run_norm(norm: Any, hidden: Float[Tensor, "lesson pos d_model"]) -> Float[Tensor, "lesson pos d_model"]:
    """The decoder's final norm."""
    return norm(hidden)


@dataclass(frozen=True, eq=False)
class _Canvas:
    """What depends on the canvas and the length alone."""

    tower: tuple[Tensor, ...]
    text: Rotary


class Forward:
    """Last hidden states of batches; what depends on the canvas alone is computed once."""

    def __init__(self, architecture: Architecture, model: Any, *, compiled: bool = False) -> None:
        self.architecture, self.model = architecture, model
        features = architecture.image_features
        self._image_features = torch.compile(features, dynamic=False) if compiled else features
        self._layer = torch.compile(run_layer, dynamic=False) if compiled else run_layer
        self._norm = torch.compile(run_norm, dynamic=False) if compiled else run_norm
        self._canvases: dict[tuple[int, int, int], _Canvas] = {}

    def _canvas(self, batch: Batch) -> _Canvas:
        key = (batch.height, batch.width, batch.input_ids.shape[1])
        if key not in self._canvases:
            grid = patch_grid(self.architecture, batch.width, batch.height)
            tower = self.architecture.tower_constants(self.model, *grid)
            # one lesson's positions are all lessons', because every image starts at the same token
            ids = batch.input_ids[:1].to(self.model.device)
            positions = self.architecture.position_ids(self.model, ids, *grid)
            anything = torch.zeros(1, device=self.model.device)
            cos, sin = self.model.model.language_model.rotary_emb(anything, positions)
            self._canvases[key] = _Canvas(tower, (cos, sin))
        return self._canvases[key]

    def __call__(
        self, batch: Batch, patches: Float[Tensor, "lesson patch values"]
    ) -> Float[Tensor, "lesson pos d_model"]:
        """Final-norm hidden states of every token; padding on the right is harmless to what comes before it."""
        canvas, inner = self._canvas(batch), self.model.model
        decoder: Any = inner.language_model
        seen = self._image_features(inner, patches, *canvas.tower)
        ids, start = batch.input_ids.to(self.model.device), batch.image_start
        # the image's own tokens are not looked up: gradients of embeddings take time by the token
        words = decoder.embed_tokens(torch.cat([ids[:, :start], ids[:, start + seen.shape[1] :]], dim=1))
        hidden = torch.cat([words[:, :start], seen.to(words.dtype), words[:, start:]], dim=1)
        for layer in decoder.layers:
            hidden = self._layer(layer, hidden, canvas.text)
        return self._norm(decoder.norm, hidden)
