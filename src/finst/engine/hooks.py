"""The plain way: one full forward pass a row, with a hook on ``o_proj``. The engine's slow twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from finst.engine.edits import Rows
from finst.engine.precision import full_precision
from finst.engine.readout import answer_logits, decoder_inputs, output_of
from finst.vlm.encode import Encoded
from finst.vlm.families.base import DecoderInputs
from finst.vlm.open import VLM


@torch.inference_mode()
def record_z(vlm: VLM, context: Encoded) -> Float[Tensor, "layer pos head d_head"]:
    """Every head's output in one context."""
    z: list[Tensor] = []

    def keep(_: Any, args: tuple[Tensor]) -> None:
        z.append(args[0][0])

    hooks = [layer.self_attn.o_proj.register_forward_pre_hook(keep) for layer in vlm.decoder.layers]
    try:
        with full_precision(vlm.dtype):
            _last_hidden(vlm, decoder_inputs(vlm, [context]))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(z).unflatten(-1, (vlm.n_heads, vlm.d_head))


@torch.inference_mode()
def counterfactuals(vlm: VLM, clean: Encoded, rows: Rows, answers: Sequence[int]) -> Float[Tensor, "row answer"]:
    """As ``finst.engine.counterfactuals.counterfactuals``, row by row. The vision tower runs once."""
    with full_precision(vlm.dtype):
        inputs = decoder_inputs(vlm, [clean])
        hidden = [_edited(vlm, inputs, rows, rows.edits_of(row)) for row in range(rows.count)]
        return answer_logits(vlm, torch.stack(hidden), answers)


def apply_edits(
    z: Float[Tensor, "pos head_d_head"], rows: Rows, edits: Sequence[int], d_head: int
) -> Float[Tensor, "pos head_d_head"]:
    """``o_proj``'s input with some edits of ``rows`` applied one after the other, replacements first."""
    edited = z.clone()
    for edit in sorted(edits, key=lambda index: bool(rows.adds[index])):
        head = slice(int(rows.head[edit]) * d_head, (int(rows.head[edit]) + 1) * d_head)
        value = rows.value[edit].to(edited)
        if rows.adds[edit]:
            edited[int(rows.pos[edit]), head] += value
        else:
            edited[int(rows.pos[edit]), head] = value
    return edited


def _edited(vlm: VLM, inputs: DecoderInputs, rows: Rows, edits: Sequence[int]) -> Float[Tensor, "d_model"]:
    hooks = []
    for layer in sorted({int(rows.layer[edit]) for edit in edits}):
        here = [edit for edit in edits if rows.layer[edit] == layer]

        def patch(_: Any, args: tuple[Tensor], here: Sequence[int] = here) -> tuple[Tensor]:
            return (apply_edits(args[0][0], rows, here, vlm.d_head)[None],)

        hooks.append(vlm.decoder.layers[layer].self_attn.o_proj.register_forward_pre_hook(patch))
    try:
        return _last_hidden(vlm, inputs)
    finally:
        for hook in hooks:
            hook.remove()


def _last_hidden(vlm: VLM, inputs: DecoderInputs) -> Float[Tensor, "d_model"]:
    """One forward pass of the decoder; the last token's hidden state before the final norm."""
    last: list[Tensor] = []

    def keep(_: Any, args: tuple, output: Any) -> None:
        last.append(output_of(output)[0, -1])

    hook = vlm.decoder.layers[-1].register_forward_hook(keep)
    try:
        vlm.decoder(inputs_embeds=inputs.embeds, position_ids=inputs.position_ids, use_cache=False)
    finally:
        hook.remove()
    return last[0]
