"""Model, number format and device: the settings that every spec shares. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from finst.errors import FinstError
from finst.options import Dtype

MOST: Mapping[str, int] = MappingProxyType(
    {"permutations": 10_000_000, "bootstraps": 1_000_000, "draws": 1_000, "splits": 1_000, "seed": 2**63 - 1}
)
"""The largest allowed value of numbers by their field; ``MOST_OTHERS`` for others."""

MOST_OTHERS = 10**9


@dataclass(frozen=True)
class ModelSpec:
    """A model by name, and how to load it."""

    model: str = "organism"
    """Built-in model, folder with a checkpoint, or Hugging Face hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Dtype = "float32"
    """Number format of the model. The 16-bit formats are noisier than the scores of many heads."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:N or, over all GPUs, cuda:all."""

    def check(self) -> None:
        """Raises FinstError for numbers that no run can have, whatever the model. Needs no model and imports nothing.

        Experiments refuse the rest: what does not suit the model, the pictures, or the heads.
        """
        check_numbers(self)


def check_numbers(spec: object, least: Mapping[str, int] = MappingProxyType({})) -> None:
    """Raises FinstError for a number of the spec that is out of range, and for an ``alpha`` that is no error rate.

    ``least`` has the least allowed value of each whole number, 0 for others; ``MOST`` the largest. Numbers with a point
    are finite.
    """
    for field in fields(spec):  # pyright: ignore[reportArgumentType]
        value = getattr(spec, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            _check_number(field.name, number, least.get(field.name, 0))
    alpha = getattr(spec, "alpha", 0.05)
    if not 0 < alpha < 1:
        raise FinstError(f"alpha is {alpha}: expected an error rate between 0 and 1, such as 0.05")


def _check_number(name: str, value: object, least: int) -> None:
    most = MOST.get(name, MOST_OTHERS)
    if isinstance(value, float) and not math.isfinite(value):
        raise FinstError(f"{name} is {value}: expected a finite number")
    if type(value) is int and value < least:
        raise FinstError(f"{name} is {value}: expected at least {least}")
    if type(value) is int and value > most:
        raise FinstError(f"{name} is {value:,}: expected at most {most:,}")
