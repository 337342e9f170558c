"""The settings of ``counting``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finst.experiments.interventions.spec import InterventionSpec
from finst.vlm.spec import check_numbers


@dataclass(frozen=True)
class CountingSpec(InterventionSpec):
    """Head outputs set to 0 at every token, prompt and generated, while a model lists and counts objects (Fig 46).

    Heads are ranked by the largest of their three scores; the strongest K, the weakest K and random ones are ablated.
    No setting is selected, so all trials are reported. The paper ablates up to 500 of Qwen2.5-32B's 2,560 heads; its
    number of pictures is not stated (100 in a public reproduction: --trials 100 --new-tokens 300). The default takes
    three minutes on two cores with the built-in model.
    """

    draws: int = 3
    """Random sets of heads."""
    trials: int = 36
    """Pictures, of 3 to 8 objects in turn."""
    ks: tuple[int, ...] = ()
    """Heads that are ablated, at most half; empty: the shares. K = 0, no edit, is always there."""
    shares: tuple[float, ...] = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)
    """The same as shares of all heads, for models of any size."""
    steps: Literal["every", "prompt"] = "every"
    """every: heads are ablated in all forward passes; prompt: in the first one alone, so that decoding continues with
    intact heads, as in a public reproduction."""
    positions: Literal["all", "text", "last"] = "all"
    """Tokens of the prompt at which heads are ablated: all, text (all but the picture's), or the last one."""
    new_tokens: int = 80
    """Budget of a text, enough for a plain list of eight; texts that it cuts are counted."""
    trials_per_unit: int = 6
    """Trials that are measured and kept together, all or none if killed."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        super().check()
        check_numbers(self, {"trials": 6, "new_tokens": 2})
