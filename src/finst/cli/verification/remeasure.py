"""Verification of any experiment: units of a stored run are measured again, and every array is compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from finst.cli.options import Verify
from finst.cli.verification.agreement import PRECISE, TOLERANCE, Outcome, check_weights, recorded_reader, tolerance_of
from finst.errors import FinstError
from finst.experiments.interventions.shown_pictures import READING
from finst.runs.experiment import Experiment
from finst.runs.finished import stored_units
from finst.runs.manifest import Manifest
from finst.runs.spec import from_json
from finst.runs.store import RunFolder
from finst.vlm.open import open_vlm, placement
from finst.vlm.placement import EVERYWHERE
from finst.vlm.spec import ModelSpec


@dataclass(frozen=True)
class ArrayDifference:
    """An array of a unit that is not equal to the stored one."""

    unit: int
    array: str
    problem: str
    """Why the arrays cannot agree in any number format, such as another shape; empty for other values."""
    largest: float | None
    """The largest difference of floats; None for texts, integers and truth values."""
    tolerance: float | None
    """How far the floats may differ; None for texts, integers and truth values, which must be equal."""
    entries: int
    """Number of entries that differ."""

    @property
    def within(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.largest is not None and self.tolerance is not None and self.largest <= self.tolerance

    @property
    def text(self) -> str:
        """Where and how much the arrays differ."""
        where = f"{self.array} of unit {self.unit}"
        if self.problem:
            return f"{where} {self.problem}"
        if self.largest is None:
            return f"{self.entries} entries of {where} differ"
        return f"{where} differs by {self.largest:.1e} (tolerance {self.tolerance:.1e})"


@dataclass(frozen=True)
class UnitVerification:
    """The result of measuring units again."""

    model: str
    result: str
    """The verified folder."""
    experiment: str
    dtype: str
    """Number format of the result and of the repetition."""
    device: str
    """Device of the result."""
    measured_on: str
    """Device of the repetition."""
    units: tuple[int, ...]
    arrays: int
    """Number of compared arrays."""
    differences: tuple[ArrayDifference, ...]
    """The arrays that are not exactly equal, those beyond the tolerance first."""

    @property
    def outcome(self) -> Outcome:
        """Values in formats coarser than float32 are not judged unless they are equal; other arrays always are."""
        if any(difference.problem for difference in self.differences):
            return "not reproduced"
        if not self.differences:
            return "reproduced"
        if self.dtype not in PRECISE:
            return "not judged"
        return "reproduced" if all(difference.within for difference in self.differences) else "not reproduced"

    @property
    def text(self) -> str:
        """The verification for a terminal; the last line states the outcome."""
        numbers = ", ".join(map(str, self.units))
        return "\n".join(
            [
                f"{self.model}: unit{'' if len(self.units) == 1 else 's'} {numbers} of {self.result} "
                f"({self.experiment}, {self.dtype}, {self.device}), measured again on {self.measured_on}",
                f"arrays: {self.arrays}, of which {self.arrays - len(self.differences)} are exactly equal",
                *(f"  {difference.text}" for difference in self.differences),
                f"{self.outcome}: {self._reason()}",
            ]
        )

    def _reason(self) -> str:
        if not self.differences:
            return "all arrays are exactly equal"
        worst = self.differences[0].text
        if self.outcome == "not judged":
            return f"the result is in {self.dtype}, which rounds more than float32; {worst}"
        if self.outcome == "reproduced":
            return (
                "texts and integers are equal, and no number differs by more than its tolerance "
                f"({TOLERANCE:.0e} for numbers up to 10, in proportion beyond)"
            )
        return worst


def verify_units(options: Verify, run: Path, manifest: Manifest, experiment: Experiment[Any]) -> UnitVerification:
    """Measures random units of the run in the folder ``run`` again, with its settings, and compares all arrays.

    The device is that of the record if it is available here and no other is given. Raises FinstError for a run without
    units, other weights or another revision, a run that this finst divides into other units, a run whose inputs (such
    as the maps of an intervention) are gone, and a damaged unit.
    """
    stored = stored_units(run, manifest)
    spec: ModelSpec = from_json(experiment.spec, manifest.spec)
    reader = recorded_reader(options, run, manifest.model)
    inputs = experiment.recorded_inputs(spec, run)
    experiment.check(spec, reader)
    units = experiment.plan(spec)
    if len(units) != manifest.units:
        raise FinstError(
            f"{run} holds a run of {manifest.units} units and this finst plans {len(units)}: expected the finst that "
            "made it"
        )
    drawn = np.random.default_rng(options.seed).choice(stored, min(options.units, len(stored)), replace=False)
    folder = RunFolder(run, manifest.experiment, manifest.spec)
    kept = {index: folder.read_unit(index) for index in sorted(drawn.tolist())}
    device = options.device if options.device != "auto" else recorded_device(spec, manifest.model.device)
    vlm = open_vlm(reader, dtype=spec.dtype, device=device)
    check_weights(vlm, run, manifest.model)
    prepared = experiment.prepare(vlm, spec, inputs)
    here = vlm.place
    differences: list[ArrayDifference] = []
    for index, unit in kept.items():
        measured = experiment.measure(vlm, spec, units[index], prepared)
        differences += differences_of(index, unit, measured, manifest.model.device, here)
    return UnitVerification(
        model=options.model,
        result=str(run),
        experiment=manifest.experiment,
        dtype=spec.dtype,
        device=manifest.model.device,
        measured_on=here,
        units=tuple(kept),
        arrays=sum(len(unit.variables) for unit in kept.values()),
        differences=tuple(sorted(differences, key=_severity, reverse=True)),
    )


def recorded_device(spec: ModelSpec, device: str) -> str:
    """The spec's device, or else the recorded one, if it is available here; else ``auto``."""
    if (spec.device == EVERYWHERE or "," in device) and torch.cuda.device_count() > 1:
        return EVERYWHERE
    for name in (spec.device, device):
        try:
            placement(spec.dtype, name)
        except FinstError:
            continue
        if name != "auto":
            return name
    return "auto"


def differences_of(
    unit: int, stored: xr.Dataset, measured: xr.Dataset, recorded: str, device: str
) -> list[ArrayDifference]:
    """The arrays (coordinates included) of two datasets that are not equal.

    ``recorded`` and ``device`` are the devices on which they were measured, for the tolerance.
    """
    differences = []
    for name in dict.fromkeys([*map(str, stored.variables), *map(str, measured.variables)]):
        first, second = stored.variables.get(name), measured.variables.get(name)
        if name == READING and first is None:
            continue  # stored before there was such a variable
        problem = _problem(first, second)
        if problem or first is None or second is None:
            differences.append(ArrayDifference(unit, name, problem, None, None, 0))
            continue
        unequal = _unequal(first.values, second.values)
        if not unequal.any():
            continue
        largest, tolerance = None, None
        if "f" in (first.dtype.kind, second.dtype.kind):
            values = [array.values.astype(np.float64) for array in (first, second)]
            largest = float(np.abs(values[0] - values[1])[unequal].max())
            size = max(float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0)) for numbers in values)
            tolerance = tolerance_of(size, recorded, device)
        differences.append(ArrayDifference(unit, name, "", largest, tolerance, int(unequal.sum())))
    return differences


def _unequal(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which entries differ; NaN equals NaN."""
    if "f" in (first.dtype.kind, second.dtype.kind):
        return (first != second) & ~(np.isnan(first) & np.isnan(second))
    return np.asarray(first != second)


def _problem(stored: xr.Variable | None, measured: xr.Variable | None) -> str:
    """Why two arrays cannot agree in any number format; empty if they can."""
    if stored is None:
        return "is measured but not stored"
    if measured is None:
        return "is stored but not measured by this finst"
    if dict(stored.sizes) != dict(measured.sizes):
        return f"has the sizes {dict(stored.sizes)} in the run and {dict(measured.sizes)} now"
    texts = [array.dtype.kind in "UOT" for array in (stored, measured)]
    if texts[0] != texts[1]:
        return f"holds {'texts' if texts[0] else 'numbers'} in the run and {'texts' if texts[1] else 'numbers'} now"
    if texts[0]:
        return ""
    finite = [np.isfinite(array.values) for array in (stored, measured)]
    if (_unequal(stored.values, measured.values) & ~(finite[0] & finite[1])).any():
        return "has other infinite or missing numbers in the run than now"
    return ""


def _severity(difference: ArrayDifference) -> tuple[bool, bool, float]:
    """Problems first, then unequal texts and integers, then floats by their difference in units of the tolerance."""
    ratio = 0.0 if difference.largest is None else difference.largest / (difference.tolerance or 1.0)
    return bool(difference.problem), difference.largest is None, ratio
