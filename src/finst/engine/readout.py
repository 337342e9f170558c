"""The two ends of the decoder: its inputs, and logits from its last hidden state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from finst.engine.finite import all_finite, first_bad, not_finite, total
from finst.engine.precision import arithmetic, at_least_float32, linear_by_parts
from finst.errors import FinstError
from finst.vlm.encode import Encoded
from finst.vlm.families.base import DecoderInputs, Prepared
from finst.vlm.families.base import decoder_inputs as family_inputs
from finst.vlm.open import VLM
from finst.vlm.to_device import to_device

_VOCAB_BLOCK = 1 << 15
"""Number of tokens whose unembedding weights are converted to float32 at a time."""


def prepared(vlm: VLM, contexts: Sequence[Encoded]) -> Prepared:
    """Contexts of equal length, on the model's device."""
    lengths = sorted({len(context.input_ids) for context in contexts})
    if len(lengths) != 1:
        raise FinstError(f"contexts of one batch need the same number of tokens; got {lengths or 'no context'}")
    input_ids = torch.stack([context.input_ids for context in contexts])
    pictures = [context.image_inputs for context in contexts]
    return vlm.reader.family.prepare(vlm.model, input_ids, pictures, vlm.device)


def decoder_inputs(vlm: VLM, contexts: Sequence[Encoded]) -> DecoderInputs:
    """Embeddings, image features included, and positions of contexts of equal length."""
    return family_inputs(vlm.reader.family, vlm.model, prepared(vlm, contexts))


def decoder_call(vlm: VLM, inputs: DecoderInputs) -> dict[str, Any]:
    """The keyword arguments of one decoder call without a cache."""
    more = vlm.reader.family.decoder_arguments(vlm.model, inputs)
    return {"inputs_embeds": inputs.embeds, "position_ids": inputs.position_ids, "use_cache": False, **more}


def hidden_of(args: tuple, kwargs: dict[str, Any]) -> Float[Tensor, "batch pos d_model"]:
    """The hidden states among the arguments of a decoder layer's call."""
    return args[0] if args else kwargs["hidden_states"]


def output_of(output: Any) -> Float[Tensor, "batch pos *features"]:
    """The hidden states in the result of a decoder layer or of a module in it."""
    return output[0] if isinstance(output, tuple) else output


def logits(vlm: VLM, hidden: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
    """Final norm and unembedding, both in float32 at least, for the whole vocabulary."""
    final = _normed(vlm, hidden)
    head = vlm.model.get_output_embeddings()
    if head.weight.is_cuda and head.weight.dtype == torch.bfloat16 and not torch.is_grad_enabled():
        return linear_by_parts(final.to(head.weight.device), head.weight, head.bias).to(vlm.device)
    blocks = [slice(start, start + _VOCAB_BLOCK) for start in range(0, len(head.weight), _VOCAB_BLOCK)]
    return torch.cat([_head(head, final, block) for block in blocks], dim=-1).to(vlm.device)


def answer_logits(
    vlm: VLM, hidden: Float[Tensor, "row d_model"], answers: Sequence[int] | None
) -> Float[Tensor, "row answer"]:
    """As ``logits``, for the ``answers`` (token ids) only; None is the whole vocabulary."""
    if answers is None:
        return logits(vlm, hidden)
    head = vlm.model.get_output_embeddings()
    wrong = [token for token in answers if not 0 <= token < len(head.weight)]
    if wrong or not answers:
        raise FinstError(f"answers are token ids in 0..{len(head.weight) - 1}; got {wrong or 'none'}")
    tokens = to_device(np.array(answers), head.weight.device)
    return _head(head, _normed(vlm, hidden), tokens).to(vlm.device)


@torch.inference_mode()
def decoded(
    vlm: VLM, hidden: Float[Tensor, "*at d_model"], answers: Sequence[int] | None
) -> Float[Tensor, "*at answer"]:
    """The answers' logits (None: the whole vocabulary's) of outputs of the last layer, at any tokens.

    Raises FinstError for answers outside the vocabulary, and for logits that are not finite.
    """
    with arithmetic(vlm):
        rows = hidden.flatten(0, -2)
        read = answer_logits(vlm, rows, answers)
    index = None if all_finite(total(read)) else first_bad([read])
    if index is not None:
        where = "in its own values" if first_bad([rows[index : index + 1]]) == 0 else "in the logits"
        raise not_finite(vlm, f"output {index + 1} of {len(rows)} of the last layer", where)
    return read.unflatten(0, hidden.shape[:-1])


def _normed(vlm: VLM, hidden: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
    return vlm.decoder.norm(hidden.to(at_least_float32(hidden.dtype)))


def _head(
    head: nn.Linear, x: Float[Tensor, "row d_model"], tokens: slice | Int[Tensor, "token"]
) -> Float[Tensor, "row token"]:
    """The unembedding for some tokens of the vocabulary, in the dtype of ``x``."""
    x = x.to(head.weight.device)
    bias = None if head.bias is None else head.bias[tokens].to(x.dtype)
    return functional.linear(x, head.weight[tokens].to(x.dtype), bias)
