"""Activations of many contexts at each context's own positions, and whether the expected answer is given, in one pass.

``record`` keeps whole contexts for replaying, and ``reads.activations`` reads the same positions of all contexts. Here
every context has its own positions (the same role is at different tokens), and nothing else is kept.
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

from finst.engine.finite import all_finite, context_name, first_bad, first_layer, in_layer, not_finite, total
from finst.engine.kernel_patching import fused
from finst.engine.precision import arithmetic
from finst.engine.readout import decoder_inputs, logits, output_of
from finst.engine.sites import HEAD_SITES, heads_and_width, tapped
from finst.errors import FinstError, choice
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM

Sampleable = Literal["resid", "attn_out", "z", "q", "post_attention_norm"]
"""The engine's sites, and ``post_attention_norm``: the normalised residual stream between a layer's attention and its
MLP, which some reproductions used as the residual stream."""

NORM = "post_attention_layernorm"
"""transformers' name for the norm before the MLP."""


@dataclass(frozen=True, eq=False, repr=False)
class Sampled:
    """Activations and predictions of every context, in the order of the contexts; on the CPU."""

    values: Mapping[Sampleable, Float[Tensor, "context layer slot *_"]]
    """[context, layer, slot, d_model]; ``z`` and ``q`` have [context, layer, slot, head, d_head]."""
    predicted: Int[Tensor, "context"]
    """The likeliest token after the prompt."""
    exact: Bool[Tensor, "context"]
    """Whether greedy decoding would give all answer tokens (see ``sampled``)."""
    following: Int[Tensor, "context"]
    """The likeliest token after prompt and answer."""
    logits: Float[Tensor, "context vocab"] | None
    """Logits at the prompt's last token; None unless ``keep_logits``."""


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
    """Some tensors of all layers at each context's own ``positions``, and the predictions after the prompt.

    Contexts of equal length share passes of at most ``batch`` contexts, vision tower included; which contexts share a
    pass changes rounding only. The tokens of an answer that a context was encoded with are part of the pass. Greedy
    decoding produces exactly these tokens if and only if each of them is the likeliest after those before it, so
    ``exact`` holds for the whole answer. Without an answer ``exact`` is true.

    Raises FinstError for no contexts, an unknown tensor, positions outside a context, a tensor that the architecture
    does not have, and for values or logits that are not finite.
    """
    _check(vlm, contexts, tensors, positions, batch)
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, context in enumerate(contexts):
        groups.setdefault(context.batched_with, []).append(index)
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
        {tensor: torch.cat([result.values[tensor] for result in passes])[back] for tensor in tensors},
        torch.cat([result.predicted for result in passes])[back],
        torch.cat([result.exact for result in passes])[back],
        torch.cat([result.following for result in passes])[back],
        torch.cat([result.logits for result in passes if result.logits is not None])[back] if keep_logits else None,
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
        raise FinstError(
            f"expected one row of positions for every context; got {len(contexts)} contexts, {len(positions)} rows"
        )
    if batch < 1:
        raise FinstError(f"batch is {batch}: expected at least 1 context per pass")
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
    """One pass over contexts of equal length."""
    values, scores = _scored(vlm, contexts, tensors, positions)
    if not all_finite(total(*values.values(), scores)):
        _look_again(vlm, contexts, tensors, positions, values, scores)
    on_cpu: dict[Sampleable, Tensor] = {name: layers.cpu() for name, layers in values.items()}
    return _with_answers(contexts, scores, on_cpu, keep_logits)


def _look_again(
    vlm: VLM,
    contexts: Sequence[Encoded],
    tensors: Sequence[Sampleable],
    positions: Int[np.ndarray, "context slot"],
    values: Mapping[Sampleable, Tensor],
    scores: Float[Tensor, "row vocab"],
) -> None:
    """Raises NotFiniteError for the first context that is not finite, if there is one."""
    by_context = scores.split([len(positions) for positions in _ends(contexts)])
    bad = [index for index, rows in enumerate(by_context) if not rows.isfinite().all()][:1]
    index = first_bad(list(values.values()))
    bad += [] if index is None else [index]
    if bad:
        one = slice(min(bad), min(bad) + 1)
        layer = first_layer(vlm, partial(_scored, vlm, contexts[one], tensors, positions[one]))
        raise not_finite(vlm, context_name(vlm, min(bad), len(contexts), contexts[min(bad)].input_ids), in_layer(layer))


def _scored(
    vlm: VLM, contexts: Sequence[Encoded], tensors: Sequence[Sampleable], positions: Int[np.ndarray, "context slot"]
) -> tuple[dict[Sampleable, Tensor], Float[Tensor, "row vocab"]]:
    """The tensors at the positions, and logits from each prompt's last token on."""
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
    ends = _ends(contexts)
    rows = torch.tensor([row for row, positions in enumerate(ends) for _ in positions], device=last[0].device)
    tokens = torch.tensor([pos for positions in ends for pos in positions], device=last[0].device)
    values: dict[Sampleable, Tensor] = {
        name: torch.stack([layer.to(layers[0].device) for layer in layers], dim=1) for name, layers in kept.items()
    }
    return values, logits(vlm, last[0][rows, tokens])


def _ends(contexts: Sequence[Encoded]) -> list[list[int]]:
    """Each context's tokens from the prompt's last one on."""
    return [[*range(context.tokens.last, len(context.tokens))] for context in contexts]


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
    values = x[rows, at]
    kept.append(values.reshape(*at.shape, *heads) if heads else values)


def _with_answers(
    contexts: Sequence[Encoded],
    scores: Float[Tensor, "row vocab"],
    values: Mapping[Sampleable, Tensor],
    keep_logits: bool,
) -> Sampled:
    """Compares each context's answer tokens with the likeliest tokens; answers may differ in length."""
    ends = _ends(contexts)
    likeliest = [part.tolist() for part in scores.argmax(-1).cpu().split([len(positions) for positions in ends])]
    answers = [context.answer for context in contexts]
    firsts = np.cumsum([0, *(len(positions) for positions in ends[:-1])])
    whole: Any = scores[torch.from_numpy(firsts).to(scores.device)].cpu() if keep_logits else None
    return Sampled(
        values,
        torch.tensor([tokens[0] for tokens in likeliest]),
        torch.tensor([tokens[:-1] == answer for tokens, answer in zip(likeliest, answers, strict=True)]),
        torch.tensor([tokens[-1] for tokens in likeliest]),
        whole,
    )
