"""What an experiment is: plan -> measure -> summarise -> report. Every result of finst comes from one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import xarray as xr
from rich.console import Console

from finst.report.comparison import Difference, Side, SideBySide
from finst.report.example import TrialExample
from finst.report.figures import NamedFigure
from finst.report.findings import Findings
from finst.report.page import findings_side_by_side, report_page
from finst.runs.size import Size
from finst.vlm.open import VLM, Reader
from finst.vlm.spec import ModelSpec


@dataclass(frozen=True)
class Unit:
    """Trials that are measured and stored together: the step of progress and of resuming."""

    name: str
    trials: tuple[int, ...]
    """Indices into the design, which the spec's seed fixes."""


@dataclass(frozen=True)
class Report:
    """How a summary is shown. These functions need no model and import no torch."""

    figures: Callable[[xr.Dataset], tuple[NamedFigure, ...]]
    """The figures of a summary, each with the numbers that it shows."""
    findings: Callable[[xr.Dataset], Findings]
    """The results in words and in a table."""


SpecT = TypeVar("SpecT", bound=ModelSpec)


class Experiment(ABC, Generic[SpecT]):
    """One measurement, such as causal mediation. It holds no state: everything that varies is in the spec.

    ``check``, ``plan``, ``summarise``, ``example`` and the report work without weights.
    """

    name: ClassVar[str]
    """Its name on the command line and in the run's record."""
    spec: ClassVar[Any]
    """The frozen dataclass of this experiment's settings, a ``ModelSpec``."""
    report: ClassVar[Report]
    statistic: ClassVar[str]
    """The main variable of the summary; tidy tables have a row for each of its entries."""

    @abstractmethod
    def check(self, spec: SpecT, reader: Reader) -> None:
        """Raises FinstError, before any weight loads, for a run that cannot succeed."""

    @abstractmethod
    def plan(self, spec: SpecT) -> tuple[Unit, ...]:
        """The units of the run: a pure function of the spec."""

    def size(self, spec: SpecT, reader: Reader) -> Size:
        """How large the run is. Experiments that can be made large say so by arithmetic, without a plan."""
        units = self.plan(spec)
        return Size(sum(len(unit.trials) for unit in units), per_unit=max([1, *(len(unit.trials) for unit in units)]))

    def check_inputs(self, spec: SpecT, reader: Reader, out: Path) -> None:
        """Raises FinstError, before any weight loads, for runs that ``inputs`` could not use or make; writes nothing.

        ``out`` is the folder of this run.
        """

    def inputs(self, vlm: VLM, spec: SpecT, out: Path, console: Console, backend: Any = None) -> Any:
        """What this run needs from other runs, which are made first if they are missing; None for nothing.

        ``backend`` measures their units, as in ``finst.runs.executor.run``.
        """
        return None

    def recorded_inputs(self, spec: SpecT, folder: Path) -> Any:
        """The ``inputs`` of the run in ``folder``, read back; raises FinstError when they are gone."""
        return None

    def prepare(self, vlm: VLM, spec: SpecT, inputs: Any) -> Any:
        """What all units share, such as estimates from other pictures. Called once per process."""
        return inputs

    @abstractmethod
    def measure(self, vlm: VLM, spec: SpecT, unit: Unit, prepared: Any) -> xr.Dataset:
        """The data of one unit, independent of what was measured before; ``prepared`` is the result of ``prepare``."""

    @abstractmethod
    def summarise(self, spec: SpecT, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """The data of all units with their statistics."""

    @abstractmethod
    def example(self, spec: SpecT, reader: Reader) -> TrialExample:
        """One trial as the model sees it, with the tokens that are read or edited."""

    def page(
        self,
        spec: SpecT,
        reader: Reader,
        summary: xr.Dataset,
        figures: Sequence[NamedFigure],
        record: Mapping[str, Any],
    ) -> str:
        """The report as one HTML file; ``record`` is the run's manifest as plain values."""
        return report_page(self.report.findings(summary), figures, self.example(spec, reader), record)

    def compare(self, sides: Sequence[Side], differences: Sequence[Difference]) -> SideBySide:
        """Finished runs of this experiment side by side, with the differences of their settings and versions."""
        labels = [side.label for side in sides]
        findings = [self.report.findings(side.summary) for side in sides]
        figures = [
            {
                figure.name: replace(figure, name=f"{figure.name}-{place}")
                for figure in self.report.figures(side.summary)
            }
            for place, side in enumerate(sides, 1)
        ]
        html = findings_side_by_side(labels, findings, figures, [side.record for side in sides], differences)
        text = "\n".join(f"{label}: {result.headline}" for label, result in zip(labels, findings, strict=True))
        return SideBySide(html, tuple(figure for row in figures for figure in row.values()), text)
