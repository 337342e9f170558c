"""The settings of ``reuse``."""

from __future__ import annotations

from dataclasses import dataclass

from finst.experiments.interventions.spec import InterventionSpec
from finst.vlm.spec import check_numbers


@dataclass(frozen=True)
class ReuseSpec(InterventionSpec):
    """IDs from scene descriptions added at the last token of spatial questions on the 3x3 grid (Fig 5).

    IDs are estimated from descriptions of other pictures. K and dose are selected on half of the questions, and effects
    reported on the other half. The paper adds dose 2 to the top 100 heads of ID selection; numbers of trials are not
    stated there. The default takes two minutes on two cores with the built-in model.
    """

    trials: int = 24
    """Questions of each relation."""
    estimation: int = 2
    """Descriptions for every pair of an object and a cell, 81 each, behind the IDs."""
    ks: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 40)
    """Heads that are edited: the K strongest of ID selection; at most half of all heads."""
    doses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    """The paper's alpha: the factor of the written ID."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        super().check()
        check_numbers(self, {"trials": 2, "estimation": 1})
