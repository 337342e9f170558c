"""The settings of ``frame-patch``."""

from __future__ import annotations

from dataclasses import dataclass

from finst.experiments.interventions.spec import InterventionSpec
from finst.vlm.spec import check_numbers


@dataclass(frozen=True)
class FramePatchSpec(InterventionSpec):
    """Selection heads' outputs from one 2x2 arrangement, patched into another that shares the centre cell (Fig 29).

    The source names the object at the centre of the 3x3 lattice. In the other picture two objects are left to name: one
    at the centre too, and one at the same place within the arrangement. Objects are new in every picture. K is selected
    on half of the pairs, by how many answers move to either object. The paper states neither K nor the number of pairs.
    The default takes two minutes on two cores with the built-in model.
    """

    trials: int = 8
    """Pairs of pictures for each of the 12 ordered pairs of arrangements."""
    ks: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 40)
    """Heads that are patched: the K strongest of ID selection; at most half of all heads."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        super().check()
        check_numbers(self, {"trials": 2})
