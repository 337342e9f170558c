"""Packages that only rendering needs; they are imported when something is rendered."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from finst.errors import FinstError


def extra(module: str) -> Any:
    """A module of the extra ``finst[photoreal]``. Raises FinstError where it is not installed."""
    try:
        return import_module(module)
    except ImportError as missing:
        raise FinstError(
            f"rendering needs packages that are not installed ({missing}): pip install 'finst[photoreal]'"
        ) from missing
