"""Greedy decoding: which token comes next, which tokens end a row, and the result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor

from finst.engine.precision import at_least_float32
from finst.errors import FinstError
from finst.vlm.open import VLM, Reader

PADDING = -1
"""Fills ``Generated.tokens`` after the end of a row."""


@dataclass(frozen=True, eq=False, repr=False)
class Generated:
    """Generated tokens, row by row."""

    tokens: Int[Tensor, "row step"]
    """Token ids, the one that ended the row included; ``PADDING`` after it."""
    logits: Float[Tensor, "row step"]
    """The chosen tokens' logits, before any repetition penalty; nan where there is ``PADDING``."""

    def __getitem__(self, rows: slice) -> Generated:
        """Some of the rows; shares their memory."""
        return Generated(self.tokens[rows], self.logits[rows])

    @property
    def lengths(self) -> Int[Tensor, "row"]:
        """Number of tokens of each row."""
        return (self.tokens != PADDING).sum(dim=1)

    def texts(self, reader: Reader) -> list[str]:
        """Each row as text, without special tokens."""
        rows = zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        return [reader.tokenizer.decode(tokens[:length], skip_special_tokens=True) for tokens, length in rows]


@dataclass(frozen=True, eq=False)
class Greedy:
    """Chooses the likeliest token."""

    stop: Int[Tensor, "stop"]
    """Tokens that end a row."""
    penalty: float
    """Above 1, tokens that are in the context or the row already become less likely; 1 changes nothing."""

    def choose(
        self, logits: Float[Tensor, "row vocab"], previous: Int[Tensor, "row pos"]
    ) -> tuple[Int[Tensor, "row"], Float[Tensor, "row"]]:
        """Each row's next token (the lowest id among equals) after its ``previous`` tokens, and its logit."""
        scores = (
            logits if self.penalty == 1 else RepetitionPenaltyLogitsProcessor(self.penalty)(cast(Any, previous), logits)
        )
        chosen = scores.argmax(dim=-1)
        return chosen, logits.gather(1, chosen[:, None])[:, 0]

    def ends(self, tokens: Int[Tensor, "row"]) -> Bool[Tensor, "row"]:
        """Whether a row ends with its token."""
        return torch.isin(tokens, self.stop)


def cut_short(vlm: VLM, generated: Generated) -> Bool[Tensor, "row"]:
    """Rows that reached the maximum number of tokens without one of the checkpoint's stop tokens."""
    last = generated.tokens[:, -1]
    return (last != PADDING) & ~torch.isin(last, torch.tensor(_ends(vlm), dtype=torch.long, device=last.device))


def empty_generation(vlm: VLM, rows: int, max_new_tokens: int) -> Generated:
    """``PADDING`` in all rows, to be filled."""
    tokens = torch.full((rows, max_new_tokens), PADDING, device=vlm.device)
    return Generated(tokens, torch.full_like(tokens, torch.nan, dtype=at_least_float32(vlm.dtype)))


def greedy(vlm: VLM, max_new_tokens: int, stop: Sequence[int] | None, repetition_penalty: float) -> Greedy:
    """Greedy decoding whose rows end with the token ids ``stop`` (None: the checkpoint's end tokens).

    The checkpoint's are those of ``generation_config.json``, else of ``config.json``, else of the tokenizer. Raises
    FinstError for ``max_new_tokens`` below 1, ids outside the vocabulary, and a penalty that is not a positive number.
    """
    if max_new_tokens < 1:
        raise FinstError(f"max_new_tokens must be at least 1; got {max_new_tokens}")
    if not 0 < repetition_penalty < math.inf:
        raise FinstError(f"repetition_penalty must be a positive number (1 for none); got {repetition_penalty}")
    tokens = _ends(vlm) if stop is None else list(stop)
    vocab = len(vlm.model.get_output_embeddings().weight)
    wrong = [token for token in tokens if not 0 <= token < vocab]
    if wrong:
        raise FinstError(f"tokens that end a row are ids in 0..{vocab - 1}; got {wrong[0]}")
    return Greedy(torch.tensor(tokens, dtype=torch.long, device=vlm.device), float(repetition_penalty))


def _ends(vlm: VLM) -> list[int]:
    for source in (vlm.model.generation_config, vlm.reader.config.get_text_config(), vlm.reader.tokenizer):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return [ids] if isinstance(ids, int) else list(ids)
    return []
