"""The reference for the engine: one full forward pass a row, with hooks at the edited sites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from finst.engine.decode_steps import picked
from finst.engine.edits import Block, Rows
from finst.engine.greedy import Generated, empty_generation, greedy
from finst.engine.precision import arithmetic
from finst.engine.readout import answer_logits, decoder_call, decoder_inputs, logits
from finst.engine.reads import Observed, Read, activations, reading
from finst.engine.sites import HEAD_SITES, Site, heads_and_width, tapped
from finst.vlm.encode import Encoded
from finst.vlm.families.base import DecoderInputs
from finst.vlm.open import VLM


def record_z(vlm: VLM, context: Encoded) -> Float[Tensor, "layer pos head d_head"]:
    """Every head's output in one context."""
    return activations(vlm, [context], ["z"])["z"][0]


def counterfactuals(vlm: VLM, clean: Encoded, rows: Rows, answers: Sequence[int] | None) -> Float[Tensor, "row answer"]:
    """As ``finst.engine.counterfactuals.counterfactuals``, row by row. The vision tower runs once."""
    return observe(vlm, clean, rows, (), answers).logits


@torch.inference_mode()
def observe(vlm: VLM, clean: Encoded, rows: Rows, reads: Sequence[Read], answers: Sequence[int] | None) -> Observed:
    """As ``finst.engine.counterfactuals.observe``, row by row; a read keeps whole contexts until it is indexed."""
    seen: list[list[Tensor]] = [[] for _ in reads]
    hidden = []
    with arithmetic(vlm):
        inputs = decoder_inputs(vlm, [clean])
        for row in range(rows.count):
            with _edited(vlm, rows.take(np.array([row]))), reading(vlm, sorted({read.site for read in reads})) as kept:
                hidden.append(_last_hidden(vlm, inputs))
            for read, values in zip(reads, seen, strict=True):
                values.append(_chosen(kept, read))
        order = [range(rows.count) if read.rows is None else read.rows for read in reads]
        taken = [torch.stack([values[row] for row in wanted]) for wanted, values in zip(order, seen, strict=True)]
        return Observed(answer_logits(vlm, torch.stack(hidden), answers), tuple(taken))


@torch.inference_mode()
def generate(
    vlm: VLM,
    clean: Encoded,
    rows: Rows,
    max_new_tokens: int,
    *,
    stop: Sequence[int] | None = None,
    repetition_penalty: float = 1.0,
) -> Generated:
    """As ``finst.engine.generate.generate``, row by row, with a pass over all previous tokens for every token.

    The vision tower runs once.
    """
    choice = greedy(vlm, max_new_tokens, stop, repetition_penalty)
    generated = empty_generation(vlm, rows.count, max_new_tokens)
    with arithmetic(vlm):
        prompt = decoder_inputs(vlm, [clean])
        for row in range(rows.count):
            previous, inputs = clean.input_ids[None].to(vlm.device), prompt
            for step in range(max_new_tokens):
                with _edited(vlm, _so_far(rows.take(np.array([row])), previous.shape[1])):
                    hidden = _last_hidden(vlm, inputs)
                token, generated.logits[row, step] = choice.choose(logits(vlm, hidden[None]), previous)
                generated.tokens[row, step] = token
                if choice.ends(token):
                    break
                previous, inputs = torch.cat([previous, token[None]], dim=1), _followed_by(vlm, inputs, token)
    return generated


def _so_far(row: Rows, length: int) -> Rows:
    """The edits of a row at its first ``length`` tokens."""
    blocks = {site: picked(block, np.flatnonzero(block.pos < length)) for site, block in row.blocks.items()}
    return replace(row, blocks=blocks)


def _followed_by(vlm: VLM, inputs: DecoderInputs, token: Int[Tensor, "1"]) -> DecoderInputs:
    embeds = torch.cat([inputs.embeds, vlm.model.get_input_embeddings()(token)[None]], dim=1)
    positions = torch.cat([inputs.position_ids, inputs.position_ids[..., -1:] + 1], dim=-1)
    additions = tuple(functional.pad(added, (0, 0, 0, 1)) for added in inputs.additions)
    return DecoderInputs(embeds, positions, additions, inputs.blocks)


def apply_edits(
    x: Float[Tensor, "pos head_width"], block: Block, layer: int, width: int
) -> Float[Tensor, "pos head_width"]:
    """A site's values with one row's edits of a layer applied one by one, replacements first."""
    edited = x.clone()
    here = [int(edit) for edit in np.flatnonzero(block.layer == layer)]
    for edit in sorted(here, key=lambda index: bool(block.adds[index])):
        head = slice(int(block.head[edit]) * width, (int(block.head[edit]) + 1) * width)
        value = block.value[edit].to(edited)
        if block.adds[edit]:
            edited[int(block.pos[edit]), head] += value
        else:
            edited[int(block.pos[edit]), head] = value
    return edited


@contextmanager
def _edited(vlm: VLM, row: Rows) -> Iterator[None]:
    """Inside, hooks apply one row's edits in the decoder's calls."""
    with ExitStack() as taps:
        for site, block in row.blocks.items():
            for layer in sorted(set(block.layer.tolist())):
                taps.enter_context(tapped(vlm, layer, site, partial(_write, vlm, site, block, layer)))
        yield


def _write(vlm: VLM, site: Site, block: Block, layer: int, x: Float[Tensor, "1 pos *head_width"]) -> None:
    _, width = heads_and_width(vlm, site)
    x.copy_(apply_edits(x[0].flatten(1), block, layer, width).view_as(x))


def _chosen(kept: Mapping[Site, Sequence[Tensor]], read: Read) -> Float[Tensor, "layer pos *head_width"]:
    """One row's part of a read."""
    first = kept[read.site][0].device
    values = torch.stack([kept[read.site][layer][0, list(read.positions)].to(first) for layer in read.layers])
    return values if read.site in HEAD_SITES else values.squeeze(-2)


def _last_hidden(vlm: VLM, inputs: DecoderInputs) -> Float[Tensor, "d_model"]:
    """One forward pass of the decoder; the last token's hidden state before the final norm."""
    last: list[Tensor] = []
    with tapped(vlm, vlm.n_layers - 1, "resid", lambda x: last.append(x[0, -1])):
        vlm.decoder(**decoder_call(vlm, inputs))
    return last[0]
