"""Chat templates: where checkpoints keep them, and which of several is a conversation's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def template_of(folder: Path, tokenizer: Any) -> str | None:
    """The chat template of a checkpoint; None without one.

    In this order, as transformers' processors do: the processor's own entry, ``chat_template.json``, the tokenizer's
    (which may be that of a model without pictures). Of several by name it is "default", or the only one. Raises
    ValueError for anything else.
    """
    processor, older = folder / "processor_config.json", folder / "chat_template.json"
    if processor.is_file():
        own = json.loads(processor.read_text(encoding="utf-8-sig")).get("chat_template")
        if own is not None:
            return _chosen(own, processor.name)
    if older.is_file():
        content = json.loads(older.read_text(encoding="utf-8-sig"))
        inner = content["chat_template"] if isinstance(content, dict) and "chat_template" in content else content
        return _chosen(inner, older.name)
    return None if tokenizer.chat_template is None else _chosen(tokenizer.chat_template, "the tokenizer")


def _chosen(value: Any, place: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        value = {part.get("name"): part.get("template") for part in value}
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{place} holds no chat_template that is a text, or texts by name")
    template = value.get("default") if "default" in value or len(value) > 1 else next(iter(value.values()))
    if not isinstance(template, str):
        raise ValueError(
            f"{place} holds the chat templates {', '.join(map(repr, value))}: expected one named 'default'"
        )
    return template
