"""Several runs side by side, as data: what each showed, and what was not the same in how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from finst.report.figures import NamedFigure


@dataclass(frozen=True, eq=False)
class Side:
    """One of the compared runs."""

    label: str
    """Unlike those of all others."""
    summary: xr.Dataset
    record: Mapping[str, Any]
    """The run's manifest as plain values."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in all compared runs, such as a field of their specs."""

    name: str
    values: tuple[str, ...]
    """Of each run, in order."""
    misleads: bool
    """Whether it may be the reason for what looks like a difference of the models."""


@dataclass(frozen=True)
class SideBySide:
    """A page, its figures, and what the terminal shows."""

    html: str
    figures: tuple[NamedFigure, ...]
    text: str
