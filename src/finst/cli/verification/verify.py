"""``finst verify``: a random part of a result, measured again and compared.

Cells of causal mediation (or of a call of the engine, without a run) are replayed by plain hooks and nnsight. Units of
any other experiment are measured again by the experiment itself.
"""

from __future__ import annotations

from finst.cli.options import Verify
from finst.cli.verification.remeasure import UnitVerification, verify_units
from finst.cli.verification.replay import CellVerification, verify_cells
from finst.errors import FinstError
from finst.experiments.cma.experiment import CMA
from finst.experiments.registry import experiment_of
from finst.runs.finished import manifest_of


def verify(options: Verify) -> CellVerification | UnitVerification:
    """Draws cells or units, measures them again and compares.

    Raises FinstError, before weights load where that is possible, for numbers out of range, for a folder without a run
    of a registered experiment, and for whatever ``verify_cells`` and ``verify_units`` refuse.
    """
    if min(options.cells, options.units) < 1 or options.seed < 0:
        raise FinstError(
            f"cells is {options.cells}, units is {options.units} and seed is {options.seed}: "
            "expected at least 1 cell, 1 unit and a seed of at least 0"
        )
    if options.run is None:
        return verify_cells(options)
    manifest = manifest_of(options.run)
    if manifest.experiment == CMA.name:
        return verify_cells(options)
    return verify_units(options, options.run, manifest, experiment_of(manifest.experiment))
