"""What every result of the paper is made of: plan -> measure -> summarise -> draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import xarray as xr

from finst.experiments.interventions.effect_table import EffectRow
from finst.report.example import Shown
from finst.report.figures import NamedFigure
from finst.report.findings import Account
from finst.vlm.open import VLM, Reader


@dataclass(frozen=True)
class Unit:
    """A piece of a run that is measured and kept as a whole: the grain of progress and of resuming."""

    name: str
    trials: tuple[int, ...]
    """Indices into the design that the spec's seed fixes."""


@runtime_checkable
class Spec(Protocol):
    """What every experiment's spec says about the model; each is a frozen dataclass of plain values."""

    @property
    def model(self) -> str:
        """A built-in model, a folder or a hub id."""
        ...

    @property
    def revision(self) -> str | None:
        """The hub's branch, tag or commit; None for its default, and for models that are not from there."""
        ...

    @property
    def dtype(self) -> str:
        """The number format of weights and activations."""
        ...

    @property
    def device(self) -> str:
        """Where the model runs."""
        ...


SpecT = TypeVar("SpecT", contravariant=True)


@runtime_checkable
class Experiment(Protocol[SpecT]):
    """One result of the paper. Everything but ``measure`` works without weights."""

    @property
    def name(self) -> str:
        """As on the command line and in the run's record."""
        ...

    def check(self, spec: SpecT, reader: Reader) -> None:
        """Raises FinstError, before any weight loads, when the run could only fail."""
        ...

    def plan(self, spec: SpecT) -> tuple[Unit, ...]:
        """The units of the run: a pure function of the spec."""
        ...

    def measure(self, vlm: VLM, spec: SpecT, unit: Unit) -> xr.Dataset:
        """The data of one unit, the same whatever was measured before."""
        ...

    def summarise(self, spec: SpecT, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """The data of all units with their statistics."""
        ...

    def draw(self, summary: xr.Dataset) -> tuple[NamedFigure, ...]:
        """The figures of a summary, each with the numbers that it shows."""
        ...


@runtime_checkable
class Told(Experiment[SpecT], Protocol[SpecT]):
    """An experiment that tells in words what it found, for a page like all others."""

    def account(self, summary: xr.Dataset) -> Account:
        """What was found."""
        ...

    def example(self, spec: SpecT, reader: Reader) -> Shown:
        """One trial, and where it is read."""
        ...


@runtime_checkable
class Intervention(Told[SpecT], Protocol[SpecT]):
    """An experiment that edits the model, and whose effects stand in one table with those of others."""

    def effects(self, summary: xr.Dataset) -> tuple[EffectRow, ...]:
        """What its edits did, with the best of its controls."""
        ...


def documented(data: xr.Dataset, documentation: Mapping[str, tuple[str, str]]) -> xr.Dataset:
    """``data``, with units and a long name for each of its variables that ``documentation`` names."""
    for name, (units, text) in documentation.items():
        data[name].attrs = {"units": units, "long_name": text}
    return data
