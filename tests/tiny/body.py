"""Sizes and parts of tiny models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from finst.prompts import DESCRIBE
from finst.scenes.shapes import COLOURS, SHAPES


@dataclass(frozen=True)
class Body:
    """Sizes of a tiny model."""

    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    d_head: int = 8
    patch_px: int = 28
    merge: int = 1
    temporal: int = 1
    seed: int = 0
    family: str = "qwen2_vl"
    """``config.model_type``."""
    image_px: int = 84
    """Side of the vision tower's picture in px, in models with one size only; at 84, an image token shows 28 px."""

    @property
    def d_model(self) -> int:
        return self.heads * self.d_head

    @property
    def tower(self) -> dict[str, Any]:
        """The configuration of a vision transformer with a fixed picture size."""
        return dict(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=self.image_px,
            patch_size=self.patch_px,
        )

    def decoder(self, model_type: str, words: int, end: Any) -> dict[str, Any]:
        """The configuration of a text model with ``words`` tokens; token ``end`` ends a turn."""
        return dict(
            model_type=model_type,
            vocab_size=words,
            hidden_size=self.d_model,
            intermediate_size=2 * self.d_model,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=None,
        )


class Parts(NamedTuple):
    """A model (its weights are set later), its tokenizer and its image processor."""

    model: Any
    tokenizer: Any
    image_processor: Any


def sentences() -> list[str]:
    """The text that tokenizers are trained on: common words become one token, others (``orange``) do not."""
    whole = [name for name in COLOURS if name != "orange"]
    pairs = [(colour, shape) for colour in whole for shape in SHAPES]
    return [f"{DESCRIBE} In this image there is a {c} {s}, a {c} and a" for c, s in pairs]
