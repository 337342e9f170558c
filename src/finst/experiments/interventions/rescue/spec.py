"""The settings of ``rescue``."""

from __future__ import annotations

from dataclasses import dataclass

from finst.experiments.interventions.spec import InterventionSpec


@dataclass(frozen=True)
class RescueSpec(InterventionSpec):
    """Mean selection-head outputs of right high-entropy descriptions, by cell, replace those of low entropy (Table 1).

    Low entropy shows all conjunctions of 2x2 or 3x3 colours and shapes, high entropy objects that differ in both;
    objects are new in every picture. The last token's outputs become the prototype of the missing object's cell. K is
    selected on half of the trials, and effects reported on the other. The paper has 1,600 trials of either entropy on
    2x2 and 4,050 on 3x3 (--trials 100 50 --estimation 100 50). The default takes two minutes on two cores with the
    built-in model.
    """

    grids: tuple[str, ...] = ("2x2", "3x3")
    """2x2, 3x3: as many objects as cells."""
    trials: tuple[int, ...] = (12, 2)
    """Trials of either entropy for every pair of an object and a cell (16 on 2x2, 81 on 3x3), by grid."""
    estimation: tuple[int, ...] = (8, 2)
    """Other high-entropy pictures for every pair, behind the prototypes, by grid."""
    ks: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 40)
    """Heads whose outputs are replaced: the K strongest of ID selection; at most half of all heads."""
