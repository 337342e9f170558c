"""The settings of causal mediation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finst.options import Placement
from finst.vlm.spec import ModelSpec

Readout = Literal["last", "patched_tokens"]
"""The tokens whose logits ID retrieval is judged by; the other conditions patch and read the last one in any case."""

Logits = Literal["exact", "bfloat16"]
"""exact: final norm and head in float32 at least, whatever the model's format; bfloat16: rounded to it."""


@dataclass(frozen=True)
class CMASpec(ModelSpec):
    """Causal mediation over every attention head of a model."""

    pairs: int = 50
    """Counterbalanced pairs of contexts for each condition (the paper's 50 samples). One gives scores alone: means
    have no uncertainty then, and nothing can be tested."""
    seed: int = 0
    """Fixes scenes, permutations and resamples."""
    placement: Placement = "prefill"
    """Where the unfinished sentence is: begun in the assistant's turn, or in the user's (not stated in the paper)."""
    readout: Readout = "last"
    """Where ID retrieval reads the answers' logits: at the last token, or at the described object's tokens, which it
    patches (their mean), as a public reproduction did, although these predict the prompt's next word."""
    logits: Logits = "exact"
    """Round the logits to bfloat16, as models in that format give them: scores then lie on a coarse grid, and tie."""
    only_correct: bool = True
    """Leave out the pairs whose clean or source context is answered wrongly."""
    pairs_per_unit: int = 5
    """Pairs that are measured at once (three contexts each in memory) and kept together, all or none if killed."""
    permutations: int = 10_000
    """Sign patterns of the permutation tests; all of them are counted when there are no more than this."""
    bootstraps: int = 2_000
    """Resamples of pairs behind each confidence interval."""
    alpha: float = 0.05
    """Family-wise error over a condition's map of heads; intervals have level 1 - alpha."""
