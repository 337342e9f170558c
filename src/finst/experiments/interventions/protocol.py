"""What all interventions share: heads of causal mediation as input, estimates, and effects for one table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import xarray as xr
from rich.console import Console

from finst.errors import FinstError
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.stored import head_maps
from finst.experiments.interventions.effect_rows import EffectRow
from finst.experiments.interventions.heads import check_maps, check_shape
from finst.experiments.interventions.shown_pictures import READING
from finst.experiments.interventions.spec import InterventionSpec
from finst.experiments.interventions.unit_data import trial_dataset
from finst.experiments.units import joined, spec_attrs, units_of
from finst.runs.backends.backend import Backend
from finst.runs.executor import run
from finst.runs.experiment import Experiment, Report, Unit
from finst.runs.size import CONTEXT_BYTES, Size, check_size
from finst.runs.spec import to_json
from finst.runs.store import RunFolder
from finst.vlm.open import VLM, Reader

SpecT = TypeVar("SpecT", bound=InterventionSpec)

SHARED_FIELDS = ("model", "revision", "pairs", "placement", "dtype", "device")
"""What an intervention passes on to the run of causal mediation that it makes."""


@dataclass(frozen=True)
class InterventionReport(Report):
    """A report with effects."""

    effects: Callable[[xr.Dataset], tuple[EffectRow, ...]]
    """Each edit's effect with the strongest of its controls, for the table of all interventions."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What all units of an intervention share."""

    maps: HeadMaps
    """The scores of every head in causal mediation."""
    estimates: Any
    """Estimates from other pictures, to be written into the heads; None where nothing is estimated."""


class Intervention(Experiment[SpecT]):
    """An experiment that edits the heads that causal mediation ranks highest."""

    report: ClassVar[InterventionReport]  # pyright: ignore[reportIncompatibleVariableOverride]
    statistic = "after"
    attrs: ClassVar[Mapping[str, str]]
    """Title and paper, as attributes of all data."""
    documentation: ClassVar[Mapping[str, tuple[str, str]]]
    """Units and long names of a unit's variables."""
    shared: ClassVar[Sequence[str]] = ("heads", "warning")
    """Variables that all units of a run have alike."""
    ranked_by: ClassVar[str] = ""
    """The stage whose strongest heads it edits; empty where its data name several, or where all stages count."""
    kept: ClassVar[Sequence[str] | None] = None
    """Variables of units that the summary keeps; None for all."""

    @abstractmethod
    def trials(self, spec: SpecT) -> int:
        """The number of trials, without making them."""

    def size(self, spec: SpecT, reader: Reader) -> Size:
        """Answers of every trial with every edit, and pictures to estimate from."""
        edits = len(getattr(spec, "ks", ())) * len(getattr(spec, "doses", (1.0,))) * (1 + 2 * spec.draws)
        estimation = getattr(spec, "estimation", 0)
        pictures = sum(estimation) if isinstance(estimation, tuple) else estimation
        return Size(
            self.trials(spec),
            per_unit=spec.trials_per_unit,
            bytes_per_trial=edits,
            statistics=pictures * CONTEXT_BYTES,
            smaller="fewer trials, pictures to estimate from, or edits",
        )

    def plan(self, spec: SpecT) -> tuple[Unit, ...]:
        """Consecutive trials."""
        return units_of(self.trials(spec), spec.trials_per_unit)

    def check_inputs(self, spec: SpecT, reader: Reader, out: Path) -> None:
        """Raises FinstError for a run of causal mediation of another shape, or one that could not be made."""
        if spec.cma is None:
            check_mediated(spec, mediation_folder(out), reader)
        else:
            check_shape(head_maps(spec.cma), spec.cma, reader)

    def inputs(self, vlm: VLM, spec: SpecT, out: Path, console: Console, backend: Backend | None = None) -> HeadMaps:
        """The maps of the spec's run of causal mediation, or of one that is made now, in the folder ``OUT-cma``."""
        return head_maps(spec.cma or mediated(spec, mediation_folder(out), vlm, console, backend))

    def recorded_inputs(self, spec: SpecT, folder: Path) -> HeadMaps:
        """The maps of the spec's run, or of the one that was made for this run (``FOLDER-cma``, or ``cma`` beside it).

        Raises FinstError when it is gone.
        """
        whole = folder.resolve()
        made = [whole.with_name(f"{whole.name}-cma"), whole.with_name("cma")]
        places = made if spec.cma is None else [spec.cma]
        runs = [place for place in places if (place / "manifest.json").is_file()]
        if not runs:
            raise FinstError(
                f"the run of causal mediation whose heads {folder} edits is gone: expected it in "
                f"{' or '.join(map(str, places))}"
            )
        return head_maps(runs[0])

    def prepare(self, vlm: VLM, spec: SpecT, inputs: HeadMaps | None) -> Prepared:
        """Raises FinstError when the maps are missing or of other weights."""
        return Prepared(check_maps(inputs, vlm), self.estimate(vlm, spec))

    def estimate(self, vlm: VLM, spec: SpecT) -> Any:
        """What is written into the heads, estimated from other pictures than the tested ones; None for nothing.

        Raises FinstError when a picture is both estimated from and tested on, or when nothing is left to estimate from.
        """
        return None

    @abstractmethod
    def measure(self, vlm: VLM, spec: SpecT, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Answers with every edit and without any, for the trials of one unit: a dataset with a dim ``trial``."""

    def dataset(
        self, unit: Unit, edits: Mapping[str, Sequence[Any]], variables: Mapping[str, Any], coords: Mapping[str, Any]
    ) -> xr.Dataset:
        """The result of ``measure``: see ``trial_dataset``."""
        return trial_dataset(unit, edits, variables, coords, attrs=self.attrs, documentation=self.documentation)

    def summarise(self, spec: SpecT, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """The effects, with what the summary keeps of the units and with the settings as attributes.

        Raises FinstError when parts were measured with other heads or estimates, or differ in others of ``shared``.
        """
        data = joined(require_identical(parts, self.shared))
        kept = {name: data[name] for name in self.kept or self.documentation if name in data or name != READING}
        return self.analyse(spec, data).assign(kept).assign_attrs({**self.attrs, **spec_attrs(spec)})

    @abstractmethod
    def analyse(self, spec: SpecT, data: xr.Dataset) -> xr.Dataset:
        """Effects with their tests, from the ``data`` of all units."""


def mediation_folder(out: Path) -> Path:
    """Where the intervention in the folder ``out`` puts the run of causal mediation that it makes."""
    named = out.resolve() if out.name in ("", "..") else out
    return named.with_name(f"{named.name}-cma")


def mediated(spec: InterventionSpec, folder: Path, vlm: VLM, console: Console, backend: Backend | None = None) -> Path:
    """Runs causal mediation of an intervention's model into ``folder``, or resumes it."""
    return run(CMA(), _mediation_of(spec), folder, console=console, vlm=vlm, backend=backend).folder


def check_mediated(spec: InterventionSpec, folder: Path, reader: Reader) -> None:
    """Raises FinstError when ``mediated`` could not work in ``folder`` or with this model; writes nothing."""
    settings, mediation = _mediation_of(spec), CMA()
    RunFolder.claim(folder, mediation.name, to_json(settings))
    check_size(mediation.size(settings, reader), folder)
    mediation.check(settings, reader)


def _mediation_of(spec: InterventionSpec) -> CMASpec:
    return CMASpec(**{name: getattr(spec, name) for name in SHARED_FIELDS})


def check_intervention(spec: InterventionSpec) -> None:
    """Raises FinstError for numbers out of range, and for a folder that holds no finished run of causal mediation."""
    spec.check()
    doses = getattr(spec, "doses", (1.0,))
    if not doses or len(set(doses)) < len(doses):
        raise FinstError(f"doses is {tuple(doses)}: expected one or more different numbers")
    if spec.cma is not None:
        head_maps(spec.cma)


def require_identical(parts: Sequence[xr.Dataset], names: Sequence[str]) -> Sequence[xr.Dataset]:
    """The parts themselves. Raises FinstError when a variable differs that all parts must share, such as the heads."""
    for name in names:
        if name == READING and not any(name in part for part in parts):
            continue  # measured before there was such a variable
        if not all(name in part and part[name].equals(parts[0][name]) for part in parts):
            raise FinstError(
                f"units of this run were measured with different {name}: the run of causal mediation changed between "
                "sessions; choose another out folder"
            )
    return parts
