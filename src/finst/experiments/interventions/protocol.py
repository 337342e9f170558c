"""What all interventions share: heads of causal mediation as input, estimates, and effects for one table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
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
from finst.experiments.interventions.effect_table import EffectRow
from finst.experiments.interventions.heads import check_maps
from finst.experiments.interventions.spec import InterventionSpec
from finst.experiments.units import check_numbers
from finst.runs.executor import run
from finst.runs.experiment import Experiment, Report
from finst.vlm.open import VLM

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

    def inputs(self, vlm: VLM, spec: SpecT, out: Path, console: Console) -> HeadMaps:
        """The maps of the spec's run of causal mediation, or of one that is made now, in the folder ``OUT-cma``."""
        return head_maps(spec.cma or mediated(spec, out.with_name(f"{out.name}-cma"), vlm, console))

    def recorded_inputs(self, spec: SpecT, folder: Path) -> HeadMaps:
        """The maps of the spec's run, or of the one that was made for this run (``FOLDER-cma``, or ``cma`` beside it).

        Raises FinstError when it is gone.
        """
        whole = folder.resolve()
        made = [whole.with_name(f"{whole.name}-cma"), whole.with_name("cma")]
        places = made if spec.cma is None else [spec.cma]
        found = [place for place in places if (place / "manifest.json").is_file()]
        if not found:
            raise FinstError(
                f"the run of causal mediation whose heads {folder} edits is gone: expected it in "
                f"{' or '.join(map(str, places))}"
            )
        return head_maps(found[0])

    def prepare(self, vlm: VLM, spec: SpecT, inputs: HeadMaps) -> Prepared:
        """Raises FinstError when the maps are of other weights."""
        return Prepared(check_maps(inputs, vlm), self.estimate(vlm, spec))

    def estimate(self, vlm: VLM, spec: SpecT) -> Any:
        """What is written into the heads, estimated from other pictures than the tested ones; None for nothing.

        Raises FinstError when a picture is both estimated from and tested on, or when nothing is left to estimate from.
        """
        return None

    @abstractmethod
    def measure(self, vlm: VLM, spec: SpecT, unit: Any, prepared: Prepared) -> xr.Dataset:
        """Answers with every edit and without any, for the trials of one unit: a dataset with a dim ``trial``."""


def mediated(spec: InterventionSpec, folder: Path, vlm: VLM, console: Console) -> Path:
    """Runs causal mediation of an intervention's model into ``folder``, or resumes it."""
    fields = {name: getattr(spec, name) for name in SHARED_FIELDS}
    return run(CMA(), CMASpec(**fields), folder, console=console, vlm=vlm).folder


def check_intervention(spec: InterventionSpec, doses: Sequence[float]) -> None:
    """Raises FinstError for numbers out of range, and for a folder that holds no finished run of causal mediation."""
    check_numbers(spec, {"pairs": 2, "draws": 1, "seed": 0, "batch": 1, "trials_per_unit": 1})
    if not doses or len(set(doses)) < len(doses):
        raise FinstError(f"doses is {tuple(doses)}: expected one or more different numbers")
    if spec.cma is not None:
        head_maps(spec.cma)


def require_identical(parts: Sequence[xr.Dataset], names: Sequence[str]) -> Sequence[xr.Dataset]:
    """The parts themselves. Raises FinstError when a variable differs that all parts must share, such as the heads."""
    for name in names:
        if not all(part[name].equals(parts[0][name]) for part in parts[1:]):
            raise FinstError(
                f"units of this run were measured with different {name}: the run of causal mediation changed between "
                "sessions; choose another out folder"
            )
    return parts
