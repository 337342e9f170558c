"""The settings of ``transfer``."""

from __future__ import annotations

from dataclasses import dataclass

from finst.experiments.interventions.spec import InterventionSpec
from finst.vlm.spec import check_numbers

TASK_NAMES = ("description-2x2", "description-3x3", "description-sided", "colour", "spatial", "enumeration")
"""The tasks of ``transfer.tasks``."""


@dataclass(frozen=True)
class TransferSpec(InterventionSpec):
    """IDs estimated in one task and written in another, for all pairs of tasks, by stage.

    o += dose x (d_elsewhere - d_answer) in the K strongest heads of a stage, d the mean over other pictures of the
    source task, by the place of the object that is to be named (ID selection: outputs at the last token; feature
    retrieval: queries there) or of a described one (ID retrieval: outputs at its words). Places are the ends of the
    first and of the last row, which all grids have; where source or target has one row, left and right alone. A hit
    names the object at the other end of the answer's row. K and dose are selected for each pair on half of the trials,
    as IDs of one task may be larger than another's, and effects reported on the other half. The default takes under
    four minutes on two cores with the built-in model, and only strong effects survive the correction over all pairs;
    of a size for a paper are --trials 200 --estimation 160 --draws 5 --ks 1 5 20 50 100 --doses 0.5 1 2 4 8.
    """

    tasks: tuple[str, ...] = TASK_NAMES
    """Which tasks, each of them source and target."""
    trials: int = 40
    """Pictures of each task that are edited."""
    estimation: int = 48
    """Other pictures of each task, behind its IDs."""
    ks: tuple[int, ...] = (1, 5, 20)
    """Heads that are edited: the K strongest of the stage; at most half of all heads."""
    doses: tuple[float, ...] = (1.0, 4.0)
    """The factor of the written difference."""
    draws: int = 1
    """Draws of each control: random heads of the whole model, of the same layers, and the strongest heads with IDs of
    shuffled places."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        super().check()
        check_numbers(self, {"trials": 8, "estimation": 16})
