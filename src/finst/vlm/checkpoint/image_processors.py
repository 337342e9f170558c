"""The kind of image processor that a checkpoint names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finst.errors import FinstError
from finst.vlm.checkpoint.configuration import read_object
from finst.vlm.families.base import Family

_ENDINGS = ("Fast", "Pil", "ImageProcessor", "FeatureExtractor")


def check_type(folder: Path, family: Family) -> None:
    """Raises FinstError for a checkpoint without settings of an image processor, or with those of another family's.

    Every family reads these settings as its own, so another's would be read wrongly.
    """
    named = _settings(folder)
    name = named.get("image_processor_type") or named.get("feature_extractor_type")
    if name is None or not family.image_processors:
        return
    kind = str(name)
    for ending in _ENDINGS:
        kind = kind.removesuffix(ending)
    if kind not in family.image_processors:
        expected = ", ".join(f"{known}ImageProcessor" for known in family.image_processors)
        raise FinstError(
            f"{folder} names the image processor {name!r}, which is another architecture's: expected one of {expected}"
        )


def _settings(folder: Path) -> dict[str, Any]:
    """The entries of the image processor; empty where transformers finds none either."""
    older, newer = folder / "preprocessor_config.json", folder / "processor_config.json"
    if newer.is_file():
        inner = read_object(newer).get("image_processor")
        if isinstance(inner, dict):
            return inner
    return read_object(older) if older.is_file() else {}
