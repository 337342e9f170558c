"""The settings of ``photoreal``."""

from __future__ import annotations

from dataclasses import dataclass

from finst.experiments.interventions.spec import InterventionSpec
from finst.options import DRAWN
from finst.vlm.spec import check_numbers


@dataclass(frozen=True)
class PhotorealSpec(InterventionSpec):
    """Steering which of two things is named, in ID retrieval, in ID selection and in feature retrieval (Fig 3b).

    ``In this image there is a {C} {S} and a``: the model should name the other thing. Heads get dose x
    (d_other - d_own) so that it names the described one again; d is the mean over pictures in which the described thing
    stands left, or right. Drawings stand in two rows, each with directions, settings and results of its own. K and dose
    are selected on half of the pictures, for both sides together, and effects reported on the other half. The
    paper has about 200 renders, K of 2 3 5 10 12 15 20 30 40 50 60 100 200 and doses on a log grid from 1 to 300, and
    reports the best of them. The default takes three minutes on two cores with the built-in model.
    """

    pictures: str = DRAWN
    """drawn: coloured shapes on white, as the built-in models know them; or a folder of renders."""
    trials: int = 48
    """Pictures with a prompt each; of drawings half in either row."""
    estimation: int = 40
    """Other pictures behind the directions: each with its mirror image, and each described from both sides."""
    ks: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 40)
    """Heads that are edited: the K strongest of the stage (query heads in feature retrieval), at most half
    of all."""
    doses: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 300.0)
    """The paper's alpha."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        super().check()
        check_numbers(self, {"trials": 4, "estimation": 2})
