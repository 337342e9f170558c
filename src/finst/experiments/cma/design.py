"""What causal mediation compares: the spec, the conditions, and the contexts of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finst.prompts import Placement, Prompt, scene_description
from finst.scenes.designs import MediationPair
from finst.scenes.draw import draw
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import Dtype, Reader

CONTEXTS: tuple[str, ...] = ("clean", "swapped", "changed")

COLOURS: tuple[str, ...] = ("described", "target", "new")
"""Of object 0, of object 1, and of object 1 in the changed context: the answers whose logits are kept."""


@dataclass(frozen=True)
class Condition:
    """One row of the paper's table of conditions."""

    source: str
    """The context that the patched outputs come from."""
    patched: Literal["described", "last"]
    """The tokens at which they are patched in."""
    original: str
    """a1: whose colour answers the clean context."""
    counterfactual: str
    """a1*: whose colour the stage would answer instead."""


CONDITIONS: dict[str, Condition] = {
    "id_retrieval": Condition("swapped", "described", "target", "described"),
    "id_selection": Condition("swapped", "last", "target", "described"),
    "feature_retrieval": Condition("changed", "last", "target", "new"),
}
"""By stage, in the order of ``mediation.STAGES``."""


Readout = Literal["last", "patched_tokens"]
"""The tokens whose logits ID retrieval is judged by; the other conditions patch and read the last one in any case."""

Logits = Literal["exact", "bfloat16"]
"""exact: final norm and head in float32 at least, whatever the model's format; bfloat16: rounded to it."""


@dataclass(frozen=True)
class CMASpec:
    """Causal mediation over every attention head of a model."""

    model: str = "organism"
    """Built-in model, folder with a checkpoint, or Hugging Face hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    pairs: int = 50
    """Counterbalanced pairs of contexts for each condition (the paper's 50 samples). One gives scores alone: means
    have no uncertainty then, and nothing can be tested."""
    seed: int = 0
    """Fixes scenes, permutations and resamples."""
    placement: Placement = "prefill"
    """Where the unfinished sentence is: begun in the assistant's turn, or in the user's (not stated in the paper)."""
    dtype: Dtype = "float32"
    """Number format of the model. The 16-bit formats are noisier than the scores of many heads."""
    readout: Readout = "last"
    """Where ID retrieval reads the answers' logits: at the last token, or at the described object's tokens, which it
    patches (their mean), as a public reproduction did, although these predict the prompt's next word."""
    logits: Logits = "exact"
    """Round the logits to bfloat16, as models in that format give them: scores then lie on a coarse grid, and tie."""
    only_correct: bool = True
    """Leave out the pairs whose clean or source context is answered wrongly."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:N or, over all GPUs, cuda:all."""
    pairs_per_unit: int = 5
    """Pairs that are measured at once (three contexts each in memory) and kept together, all or none if killed."""
    permutations: int = 10_000
    """Sign patterns of the permutation tests; all of them are counted when there are no more than this."""
    bootstraps: int = 2_000
    """Resamples of pairs behind each confidence interval."""
    alpha: float = 0.05
    """Family-wise error over a condition's map of heads; intervals have level 1 - alpha."""


def colours_of(pair: MediationPair) -> tuple[str, str, str]:
    """The colour words of ``COLOURS``."""
    described, target = pair.clean.objects
    return described.colour, target.colour, pair.changed.objects[1].colour


def prompt_of(spec: CMASpec, pair: MediationPair) -> Prompt:
    """``In this image there is a {C} {S} and a``: object 0 is described, object 1 to be named, in all contexts."""
    return scene_description(pair.clean, [0], 1, spec.placement)


def contexts_of(reader: Reader, spec: CMASpec, pair: MediationPair) -> list[Encoded]:
    """The pair's contexts in the order of ``CONTEXTS``."""
    prompt = prompt_of(spec, pair)
    return [encode(reader, draw(getattr(pair, name)), prompt) for name in CONTEXTS]


def patched_positions(context: Encoded, condition: Condition) -> tuple[int, ...]:
    """Where a condition patches: the described object's colour and noun tokens, or the last token."""
    return context.tokens.described(0) if condition.patched == "described" else (context.tokens.last,)
