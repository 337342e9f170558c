"""Names of models: which can be one at all, decided without importing torch, so that a typing error is quick to see."""

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
"""Models that come with the package: the folder of each under ``builtin``, or the package there that makes it.

Such a package has a module ``checkpoint`` with ``folder(name)``.
"""


def is_folder(model: str) -> bool:
    """Whether the name is that of a folder on this machine."""
    return bool(model) and os.path.isdir(Path(model).expanduser())  # Path.is_dir raises for a name that is too long


def check_name(model: str) -> None:
    """Raises FinstError for what is no built-in model, no folder, and not of the form of a hub id."""
    if model in BUILTIN or is_folder(model):
        return
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith("."):
        raise unknown_model(model, "no such folder")


def unknown_model(model: str, reason: str) -> FinstError:
    """The error for a model that is not there."""
    return FinstError(
        f"unknown model {model!r} ({reason}): expected a built-in model ({', '.join(BUILTIN)}), a folder with "
        "config.json and model*.safetensors, or a Hugging Face hub id such as Qwen/Qwen2-VL-2B-Instruct"
    )
