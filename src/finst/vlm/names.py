"""Names of models: checked without importing torch, so that a misspelt name is refused quickly."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from finst.errors import FinstError

BUILTIN: Mapping[str, str] = MappingProxyType(
    {
        "organism": "organism/weights",
        "organism-llava": "organism/weights_llava",
        "planted": "planted",
        "planted-absolute": "planted",
        "planted-counting": "planted",
    }
)
"""Models that come with finst: the checkpoint's folder under ``builtin``, or the package there that builds it.

Such a package has a module ``checkpoint`` with a function ``folder(name)``.
"""


def is_folder(model: str) -> bool:
    """Whether ``model`` is the path of a folder on this machine."""
    return bool(model) and os.path.isdir(Path(model).expanduser())  # Path.is_dir raises for a name that is too long


def shadowed(model: str) -> str:
    """A note for a built-in model's name that is also a folder's; empty for other names."""
    if model not in BUILTIN or not is_folder(model):
        return ""
    return f"{model} is the model that comes with finst; the folder of this name is ./{model}"


def check_name(model: str) -> None:
    """Raises FinstError for a name that is no built-in model, no folder, and not of the form of a hub id."""
    if model in BUILTIN or is_folder(model):
        return
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith("."):
        raise unknown_model(model, "no such folder")


def unknown_model(model: str, reason: str) -> FinstError:
    """The error for a model that does not exist."""
    return FinstError(
        f"unknown model {model!r} ({reason}): expected a built-in model ({', '.join(BUILTIN)}), a folder with "
        "config.json and model*.safetensors, or a Hugging Face hub id such as Qwen/Qwen2-VL-2B-Instruct"
    )
