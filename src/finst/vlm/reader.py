"""What is known of a checkpoint without its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finst.vlm.families.base import Family
from finst.vlm.names import BUILTIN, shadowed


@dataclass(frozen=True, eq=False)
class Reader:
    """Everything about a checkpoint except its weights."""

    id: str
    """The name by which it was opened."""
    path: Path
    """The checkpoint's folder."""
    revision: str | None
    """The hub's commit; None for folders and built-in models."""
    config: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    image_processor: Any = field(repr=False)
    family: Family = field(repr=False)

    @property
    def conversation(self) -> str:
        """Who says how a conversation is written: the checkpoint's chat template or, without one, finst."""
        if self.tokenizer is None:
            return "the chat template of its tokenizer, which is not here"
        if self.tokenizer.chat_template is not None:
            return "its own chat template"
        return f"finst's template for {self.config.model_type}, since it has none"


def notes(reader: Reader) -> tuple[str, ...]:
    """What whoever runs this model should know: which model its name means, and that finst writes its conversations."""
    which = shadowed(reader.id)
    bare = reader.tokenizer is not None and reader.tokenizer.chat_template is None and reader.id not in BUILTIN
    template = f"{reader.id} has no chat template: its conversations are finst's for {reader.config.model_type}"
    return (*((which,) if which else ()), *((template,) if bare else ()))
