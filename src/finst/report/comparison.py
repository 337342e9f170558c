"""Several runs side by side, as data: what each run showed, and how their settings and versions differ."""

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
    """Unique among the compared runs."""
    summary: xr.Dataset
    record: Mapping[str, Any]
    """The run's manifest as plain values."""


@dataclass(frozen=True)
class Difference:
    """A setting or version that is not the same in all compared runs."""

    name: str
    values: tuple[str, ...]
    """The value in each run, in order."""
    misleads: bool
    """Whether it may cause what looks like a difference between the models."""


@dataclass(frozen=True)
class SideBySide:
    """A page, its figures, and the text for the terminal."""

    html: str
    figures: tuple[NamedFigure, ...]
    text: str
