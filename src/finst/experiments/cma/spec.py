"""The settings of causal mediation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finst.options import Placement
from finst.vlm.spec import ModelSpec, check_numbers

Readout = Literal["last", "patched_tokens"]
"""The tokens whose logits ID retrieval reads; the other conditions always patch and read the last token."""

Logits = Literal["exact", "bfloat16"]
"""exact: final norm and output head in float32 or better, in any format of the model; bfloat16: rounded to it."""


@dataclass(frozen=True)
class CMASpec(ModelSpec):
    """Causal mediation over every attention head of a model."""

    pairs: int = 50
    """Counterbalanced pairs of contexts for each condition (the paper's 50 samples). One pair gives scores, but no
    uncertainty and no tests."""
    seed: int = 0
    """Fixes scenes, permutations and resamples."""
    placement: Placement = "prefill"
    """Where the unfinished sentence stands: in the assistant's turn, or in the user's (not stated in the paper)."""
    readout: Readout = "last"
    """Where ID retrieval reads the answers' logits: at the last token, or (mean) at the described object's tokens,
    which it patches. A public reproduction did the latter, although these tokens predict the prompt's next word."""
    logits: Logits = "exact"
    """bfloat16 rounds the logits, as models in that format do: scores then lie on a coarse grid, and tie."""
    only_correct: bool = True
    """Leave out pairs whose clean or source context is answered incorrectly."""
    pairs_per_unit: int = 5
    """Pairs that are measured together (three contexts each in memory) and stored together."""
    permutations: int = 10_000
    """Sign patterns of the permutation tests; all patterns if there are no more than this."""
    bootstraps: int = 2_000
    """Resamples of pairs behind each confidence interval."""
    alpha: float = 0.05
    """Family-wise error over a condition's map of heads; intervals have level 1 - alpha."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        check_numbers(self, {"pairs": 1, "pairs_per_unit": 1, "permutations": 1, "bootstraps": 1})
