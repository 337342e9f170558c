"""The settings of ``key-swap``."""

from __future__ import annotations

from dataclasses import dataclass

from finst.experiments.interventions.spec import InterventionSpec
from finst.vlm.spec import check_numbers


@dataclass(frozen=True)
class KeySwapSpec(InterventionSpec):
    """The position IDs in the keys of two objects' patches are exchanged before a question for a colour (Fig 4).

    K_o += dose x (d_other - d_own) before rotary positions, d the mean key over all patches of objects that stand left
    or right, estimated on other pictures. The paper's edit is dose 2 in all KV heads of every layer that holds one of
    the top 20 feature-retrieval heads, at both objects; it does not state the number of pictures. The default takes
    two minutes on two cores with the built-in model.
    """

    trials: int = 48
    """Pictures with a question each."""
    estimation: int = 40
    """Other pictures behind the mean keys."""
    k: int = 20
    """The strongest heads of feature retrieval, whose KV heads, or whole layers, are edited; at most half of
    all heads."""
    doses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """The paper's alpha."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        super().check()
        check_numbers(self, {"trials": 8, "estimation": 4})
