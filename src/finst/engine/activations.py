"""What many contexts hold at a few positions of their own, and whether they are answered as expected, in one pass.

``record`` keeps whole contexts for replaying, and ``reads.activations`` one set of positions for all contexts. Here
every context has its own positions (the same role falls on different tokens), and nothing else is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from finst.engine.kernel_patching import fused
from finst.engine.precision import arithmetic
from finst.engine.readout import decoder_inputs, logits, output_of
from finst.engine.sites import HEAD_SITES, heads_and_width, tapped
from finst.errors import FinstError, choice
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM

Sampleable = Literal["resid", "attn_out", "z", "q", "post_attention_norm"]
"""All but the last are the engine's sites. ``post_attention_norm`` is the normalised residual stream between a layer's
attention and its MLP, which some reproductions took for the residual stream."""

NORM = "post_attention_layernorm"
"""transformers' name for the norm before the MLP."""


@dataclass(frozen=True, eq=False, repr=False)
class Sampled:
    """Of every context, in the order given; on the CPU."""

    values: Mapping[Sampleable, Float[Tensor, "context layer slot *_"]]
    """[context, layer, slot, d_model]; ``z`` and ``q`` have [context, layer, slot, head, d_head]."""
    predicted: Int[Tensor, "context"]
    """The likeliest token after the prompt."""
    exact: Bool[Tensor, "context"]
    """Whether greedy decoding would give all answer tokens (see ``sampled``)."""
    following: Int[Tensor, "context"]
    """The likeliest token after prompt and answer."""
    logits: Float[Tensor, "context vocab"] | None
    """At the prompt's last token; None unless asked for."""


@torch.inference_mode()
def sampled(
    vlm: VLM,
    contexts: Sequence[Encoded],
    tensors: Sequence[Sampleable],
    positions: Int[np.ndarray, "context slot"],
    *,
    batch: int = 32,
    keep_logits: bool = False,
) -> Sampled:
    """Some tensors of all layers at each context's own ``positions``, and what comes after the prompt.

    Contexts of equal length share passes of at most ``batch`` contexts, vision tower included; how they are put
    together changes rounding only. Where a context was encoded with its answer, the tokens of the answer are part of
    the pass: if each is the likeliest one after those before it, greedy decoding produces exactly these tokens, and the
    other way round, so ``exact`` speaks for the whole generation. Without an answer ``exact`` is true.

    Raises FinstError for no contexts, an unknown tensor, positions outside a context, and a tensor that the
    architecture does not have.
    """
    _check(vlm, contexts, tensors, positions, batch)
    groups: dict[int, list[int]] = {}
    for index, context in enumerate(contexts):
        groups.setdefault(len(context.tokens), []).append(index)
    order: list[int] = []
    passes: list[Sampled] = []
    with arithmetic(vlm), fused(vlm):
        for group in groups.values():
            for start in range(0, len(group), batch):
                part = group[start : start + batch]
                order += part
                passes.append(_pass(vlm, [contexts[i] for i in part], tensors, positions[part], keep_logits))
    back = torch.from_numpy(np.argsort(order))
    return Sampled(
        {tensor: torch.cat([one.values[tensor] for one in passes])[back] for tensor in tensors},
        torch.cat([one.predicted for one in passes])[back],
        torch.cat([one.exact for one in passes])[back],
        torch.cat([one.following for one in passes])[back],
        torch.cat([one.logits for one in passes if one.logits is not None])[back] if keep_logits else None,
    )


def check_tensor(vlm: VLM, tensor: str) -> None:
    """Raises FinstError for an unknown tensor, and for one that the architecture does not have."""
    if tensor not in get_args(Sampleable):
        raise choice("tensor", tensor, get_args(Sampleable))
    norms = [name for name, _ in vlm.layers[0].named_children() if name.endswith("layernorm")]
    if tensor == "post_attention_norm" and sorted(norms) != ["input_layernorm", NORM]:
        raise FinstError(
            f"{vlm.reader.id} has no single norm between attention and MLP (its layers have "
            f"{', '.join(sorted(norms))}): expected the tensor resid, attn_out or z"
        )


def _check(
    vlm: VLM,
    contexts: Sequence[Encoded],
    tensors: Sequence[str],
    positions: Int[np.ndarray, "context slot"],
    batch: int,
) -> None:
    if not contexts or len(contexts) != len(positions):
        raise FinstError(f"expected positions for every context; got {len(contexts)} contexts, {len(positions)} rows")
    if batch < 1:
        raise FinstError(f"batch is {batch}: expected at least 1 context a pass")
    for tensor in tensors:
        check_tensor(vlm, tensor)
    lengths = np.array([len(context.tokens) for context in contexts])[:, None]
    wrong = np.argwhere((positions < 0) | (positions >= lengths))
    if len(wrong):
        context, slot = wrong[0]
        raise FinstError(
            f"a position to read must be in 0..{lengths[context, 0] - 1}; got {positions[context, slot]} in context "
            f"{context}"
        )


def _pass(
    vlm: VLM,
    contexts: Sequence[Encoded],
    tensors: Sequence[Sampleable],
    positions: Int[np.ndarray, "context slot"],
    keep_logits: bool,
) -> Sampled:
    """Contexts of one length."""
    inputs = decoder_inputs(vlm, contexts)
    at = torch.from_numpy(positions).to(vlm.device)
    kept: dict[Sampleable, list[Tensor]] = {tensor: [] for tensor in tensors}
    last: list[Tensor] = []
    with ExitStack() as taps:
        for tensor in tensors:
            for layer in range(vlm.n_layers):
                taps.enter_context(_reading(vlm, layer, tensor, at, kept[tensor]))
        taps.enter_context(tapped(vlm, vlm.n_layers - 1, "resid", last.append))
        vlm.decoder(inputs_embeds=inputs.embeds, position_ids=inputs.position_ids, use_cache=False)
    values: dict[Sampleable, Tensor] = {name: torch.stack(layers, dim=1).cpu() for name, layers in kept.items()}
    return _with_answers(vlm, contexts, last[0], values, keep_logits)


@contextmanager
def _reading(
    vlm: VLM, layer: int, tensor: Sampleable, at: Int[Tensor, "context slot"], kept: list[Tensor]
) -> Iterator[None]:
    if tensor != "post_attention_norm":
        heads = heads_and_width(vlm, tensor) if tensor in HEAD_SITES else ()
        with tapped(vlm, layer, tensor, partial(_keep, kept, heads, at)):
            yield
        return
    module: nn.Module = vlm.layers[layer].get_submodule(NORM)
    hook = module.register_forward_hook(lambda _module, _args, output: _keep(kept, (), at, output_of(output)))
    try:
        yield
    finally:
        hook.remove()


def _keep(kept: list[Tensor], heads: Sequence[int], at: Int[Tensor, "context slot"], x: Tensor) -> None:
    rows = torch.arange(len(at), device=x.device)[:, None]
    there = x[rows, at]
    kept.append(there.reshape(*at.shape, *heads) if heads else there)


def _with_answers(
    vlm: VLM,
    contexts: Sequence[Encoded],
    hidden: Float[Tensor, "context pos d_model"],
    values: Mapping[Sampleable, Tensor],
    keep_logits: bool,
) -> Sampled:
    """Compares each context's answer tokens with the likeliest ones; contexts may have answers of different lengths."""
    ends = [[*range(context.tokens.last, len(context.tokens))] for context in contexts]
    rows = torch.tensor([row for row, own in enumerate(ends) for _ in own], device=hidden.device)
    at = torch.tensor([pos for own in ends for pos in own], device=hidden.device)
    scores = logits(vlm, hidden[rows, at])
    likeliest = [part.tolist() for part in scores.argmax(-1).cpu().split([len(own) for own in ends])]
    wanted = [context.answer for context in contexts]
    firsts = np.cumsum([0, *(len(own) for own in ends[:-1])])
    whole: Any = scores[torch.from_numpy(firsts).to(scores.device)].cpu() if keep_logits else None
    return Sampled(
        values,
        torch.tensor([said[0] for said in likeliest]),
        torch.tensor([said[:-1] == want for said, want in zip(likeliest, wanted, strict=True)]),
        torch.tensor([said[-1] for said in likeliest]),
        whole,
    )
